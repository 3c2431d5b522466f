"""instance_create: everything or nothing."""

import pytest

from sftasks.operations import instance_create, instance_delete, network_create, network_delete
from sfweb.models import Instance
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance, new_network


@pytest.fixture
def cluster(make_cluster, caller):
    made = make_cluster()
    made.caller = caller
    made.network = made.ask(network_create.request, caller, new_network()).row
    made.settle()
    return made


def create(cluster):
    return cluster.ask(instance_create.request, cluster.caller, new_instance("guest", "tenant", "net"))


def test_the_guest_runs(cluster):
    accepted = create(cluster)
    cluster.settle()
    instance = Instance.objects.get(pk=accepted.row.pk)
    assert (instance.state, instance.observed_power) == ("created", "on"), instance.error_message
    assert cluster.findings() == []


def test_repeats_are_harmless(cluster):
    assert repeats_are_harmless(cluster, create).state == "succeeded"


def test_delete_leaves_nothing(cluster):
    accepted = create(cluster)
    cluster.settle()
    cluster.ask(network_delete.request, cluster.caller, cluster.network)
    cluster.ask(instance_delete.request, cluster.caller, accepted.row)
    cluster.settle()
    assert Instance.objects.get(pk=accepted.row.pk).state == "deleted"
    assert cluster.findings() == []
    assert all(not node.host.inventory().networks for node in cluster.nodes)

"""network_create: decided in the request, created once its carrier serves it."""

import pytest

from sftasks.operations import network_create, network_delete
from sfweb.models import Network
from tests.cluster import repeats_are_harmless
from tests.factories import new_network


def create(cluster):
    return cluster.ask(network_create.request, cluster.caller, new_network())


@pytest.fixture
def cluster(make_cluster, caller):
    made = make_cluster()
    made.caller = caller
    return made


def test_the_network_is_created_and_served_by_one_carrier(cluster):
    accepted = create(cluster)
    cluster.settle()
    network = Network.objects.get(pk=accepted.row.pk)
    assert network.state == "created"
    assert sorted(len(node.host.inventory().routers) for node in cluster.nodes) == [0, 1]
    assert cluster.findings() == []


def test_repeats_are_harmless(cluster):
    assert repeats_are_harmless(cluster, create).state == "succeeded"


def test_delete_leaves_nothing(cluster):
    accepted = create(cluster)
    cluster.settle()
    cluster.ask(network_delete.request, cluster.caller, accepted.row)
    cluster.settle()
    assert Network.objects.get(pk=accepted.row.pk).state == "deleted"
    assert all(not node.host.inventory().networks for node in cluster.nodes)
    assert cluster.findings() == []

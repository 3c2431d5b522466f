"""network_delete: at once when nothing uses it, else when its last interface has gone."""

from ipaddress import IPv4Address

import pytest

from sftasks import attachment, engine
from sftasks.operations import instance_create, network_create, network_delete
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden, NotFound
from sfweb.models import FLOATING, Address, CarrierLease, Network, PoolAllocation
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance, new_network


def delete(cluster):
    return cluster.ask(network_delete.request, cluster.caller, cluster.network)


def test_nothing_is_left_on_any_node(served):
    delete(served)
    served.settle()
    network = Network.objects.get(pk=served.network.pk)
    assert (network.state, network.floating_gateway) == ("deleted", None)
    assert all(not node.host.inventory().networks and not node.host.inventory().routers for node in served.nodes)
    assert not CarrierLease.objects.exists()
    assert not Address.objects.filter(network=network).exists()
    assert served.findings() == []


def test_fl_2_the_outside_gateway_is_given_back_once_and_not_to_two(served):
    """Its value rests after the first delete; a second one, or the clean-up of the row, does not shorten that."""
    value = Address.objects.get(owner_uuid=served.network.pk, network_id=FLOATING).value
    delete(served)
    served.settle()
    rested = Address.objects.get(network_id=FLOATING, value=value)
    assert (rested.kind, rested.owner_uuid) == ("deletion-halo", None)
    served.run(durable(lambda: attachment.release_egress(served.network.pk)))
    again = Address.objects.get(network_id=FLOATING, value=value)
    assert (again.released_at, again.kind) == (rested.released_at, "deletion-halo")
    other = served.ask(network_create.request, served.caller, new_network(name="other"))
    assert Network.objects.get(pk=other.row.pk).floating_gateway not in (None, str(IPv4Address(value)))


def test_nw_9_the_vni_stays_taken_until_the_row_goes(served):
    delete(served)
    served.settle()
    assert PoolAllocation.objects.filter(pool_name="vni", value=served.network.vni).exists()


def test_nw_4_the_floating_network_and_a_deleted_one_are_refused(served):
    with pytest.raises(Forbidden):
        served.ask(network_delete.request, served.caller, Network.objects.get(pk=FLOATING))
    delete(served)
    served.settle()
    with pytest.raises(NotFound):
        delete(served)


def test_nw_5_a_delete_that_races_the_create_wins(make_bare):
    from sftasks.operations import network_create
    from tests.factories import new_network

    cluster = make_bare()
    cluster.network = cluster.ask(network_create.request, cluster.caller, new_network()).row
    delete(cluster)
    cluster.settle()
    assert Network.objects.get(pk=cluster.network.pk).state == "deleted"
    assert cluster.findings() == []
    assert all(not node.host.inventory().networks for node in cluster.nodes)


def test_repeats_are_harmless(served):
    assert repeats_are_harmless(served, delete).state == "succeeded"


def test_a_delete_that_is_taken_back_before_the_last_interface_went_leaves_the_network_as_it_was(guest):
    accepted = delete(guest)
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    assert Network.objects.get(pk=guest.network.pk).state == "created"
    guest.ask(instance_create.request, guest.caller, new_instance("more", "tenant", "net"))
    guest.settle()
    assert guest.findings() == []

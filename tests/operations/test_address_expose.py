"""address_expose: floating and routed addresses are reserved at once, served by the router, and withdrawn when they cannot be."""

import pytest
from django.conf import settings

from nodeagent.host import Refused
from sftasks.operations import address_expose, address_withdraw, instance_create, instance_delete, network_create
from sfweb.domain.specs import NewInterface
from sfweb.errors import Conflict, Invalid, NoCapacity, NotReady
from sfweb.models import FLOATING, Address, Interface, Network, Operation
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance, new_network


def card(cluster):
    return Interface.objects.get(instance=cluster.instance)


def do_float(cluster):
    return cluster.ask(address_expose.request_float, cluster.caller, card(cluster))


def route(cluster):
    return cluster.ask(address_expose.request_route, cluster.caller, cluster.network)


def router(cluster):
    """The router as its carrier's machine has it."""
    carrier = next(node for node in cluster.nodes if node.host.inventory().routers)
    with carrier.host._held("look") as held:
        return held["routers"][str(cluster.network.pk)]


def reserved(kind):
    return [row for row in Address.objects.filter(network=FLOATING, kind=kind, released_at=None)]


def test_fl_3_the_address_is_reserved_at_once_and_then_served(guest):
    made = do_float(guest)
    assert card(guest).floating == made.row
    assert len(reserved("floating")) == 1
    guest.settle()
    assert Operation.objects.get(pk=made.operation.pk).state == "succeeded"
    assert router(guest)["floating"] == [{"address": made.row, "target": card(guest).address}]
    assert guest.findings() == []


def test_fl_3_a_second_float_is_refused(guest):
    do_float(guest)
    with pytest.raises(Conflict, match="has the floating address"):
        do_float(guest)
    assert len(reserved("floating")) == 1


def test_783_an_interface_without_address_cannot_float(guest):
    Interface.objects.filter(instance=guest.instance).update(address=None)
    with pytest.raises(Invalid, match="no address"):
        do_float(guest)
    assert reserved("floating") == []


@pytest.mark.parametrize("ask", [do_float, route])
def test_fl_3_fl_4_a_network_without_nat_has_no_outside_addresses(guest, ask):
    Network.objects.filter(pk=guest.network.pk).update(floating_gateway=None)
    with pytest.raises(Conflict, match="made without NAT"):
        ask(guest)


@pytest.mark.parametrize("ask", [do_float, route])
def test_fl_3_ip_6_an_empty_block_is_no_capacity_and_not_transient(guest, ask):
    Network.objects.filter(pk=FLOATING).update(netblock="198.19.0.0/29")
    for _ in range(8):
        try:
            route(guest)
        except NoCapacity:
            break
    before = Address.objects.count()
    with pytest.raises(NoCapacity) as refused:
        ask(guest)
    assert not refused.value.transient
    assert (Address.objects.count(), card(guest).floating) == (before, None)


def test_nw_5_a_network_that_is_going_gets_no_address(guest):
    Network.objects.filter(pk=guest.network.pk).update(state="delete-wait")
    for ask in do_float, route:
        with pytest.raises(NotReady):
            ask(guest)


def test_fl_4_fl_5_a_routed_address_is_the_networks(guest):
    made = route(guest)
    guest.settle()
    assert router(guest)["routed"] == [made.row]
    assert [row.owner_uuid for row in reserved("routed")] == [guest.network.pk]
    assert guest.findings() == []


@pytest.mark.parametrize("ask", [do_float, route])
def test_fl_4_a_router_that_cannot_be_told_leaves_nothing(guest, ask):
    """The address goes the whole way back: out of the rows, out of the router, into its halo."""
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    carrier.host.fail_next("ensure_router", Refused("router.no_egress"))
    made = ask(guest)
    guest.settle()
    assert Operation.objects.get(pk=made.operation.pk).state == "cancelled"
    assert card(guest).floating is None
    assert (router(guest)["floating"], router(guest)["routed"]) == ([], [])
    assert Address.objects.get(network=FLOATING, kind="deletion-halo").released_at is not None
    assert guest.findings() == []


def test_ni_2_an_instance_is_made_with_a_floating_address(served):
    wanted = new_instance("guest", "tenant", interfaces=(NewInterface(network="net", floating=True),))
    served.instance = served.ask(instance_create.request, served.caller, wanted).row
    served.settle()
    assert router(served)["floating"] == [{"address": card(served).floating, "target": card(served).address}]
    assert served.findings() == []


def test_ni_6_an_instance_that_goes_gives_its_floating_address_back_after_the_router_did(guest):
    address = do_float(guest).row
    guest.settle()
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert router(guest)["floating"] == []
    assert card(guest).floating is None
    assert Operation.objects.get(kind="address_withdraw").state == "succeeded"
    assert [row.kind for row in Address.objects.filter(network=FLOATING, value=value(address))] == ["deletion-halo"]
    assert guest.findings() == []


def value(address):
    import ipaddress

    return int(ipaddress.IPv4Address(address))


def test_fl_1_without_an_outside_address_a_network_is_not_made(bare_full):
    """The refusal is the request's own, so no row in error is left, and the networks there are untouched."""
    before = Network.objects.count()
    with pytest.raises(NoCapacity):
        bare_full.ask(network_create.request, bare_full.caller, new_network("late"))
    assert Network.objects.count() == before


@pytest.fixture
def bare_full(served):
    Network.objects.filter(pk=FLOATING).update(netblock="198.19.0.0/29")
    for _ in range(8):
        try:
            route(served)
        except NoCapacity:
            break
    return served


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, do_float).state == "succeeded"


def test_fl_4_the_halo_outlasts_nothing_because_it_begins_after_teardown(guest):
    """While the router was not told, nobody can be given the address, however long that takes."""
    made = do_float(guest)
    guest.settle()
    gone = guest.ask(address_withdraw.request_defloat, guest.caller, card(guest))
    row = Address.objects.get(network=FLOATING, value=value(made.row))
    assert (row.kind, row.owner_uuid) == ("floating", guest.network.pk)
    guest.settle()
    row.refresh_from_db()
    assert (row.kind, Operation.objects.get(pk=gone.operation.pk).state) == ("deletion-halo", "succeeded")
    assert settings.IP_DELETION_HALO_SECONDS > 0

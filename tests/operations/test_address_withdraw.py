"""address_withdraw: the router lets go first, then the address rests; what may still be answered for stays reserved."""

import pytest

from nodeagent.host import Refused
from sftasks.operations import address_expose, address_withdraw, network_create
from sfweb.errors import Conflict, Forbidden, Invalid, NotFound
from sfweb.models import FLOATING, Address, Interface, Operation
from tests.cluster import repeats_are_harmless
from tests.factories import new_network


def card(cluster):
    return Interface.objects.get(instance=cluster.instance)


def defloat(cluster):
    return cluster.ask(address_withdraw.request_defloat, cluster.caller, card(cluster))


def unroute(cluster, address):
    return cluster.ask(address_withdraw.request_unroute, cluster.caller, cluster.network, address)


@pytest.fixture
def exposed(guest):
    guest.floating = guest.ask(address_expose.request_float, guest.caller, card(guest)).row
    guest.routed = guest.ask(address_expose.request_route, guest.caller, guest.network).row
    guest.settle()
    return guest


def router(cluster):
    carrier = next(node for node in cluster.nodes if node.host.inventory().routers)
    with carrier.host._held("look") as held:
        return held["routers"][str(cluster.network.pk)]


def kinds():
    return sorted(Address.objects.filter(network=FLOATING, owner_type="").values_list("kind", flat=True))


def test_fl_3_defloat_takes_it_from_the_interface_and_the_router(exposed):
    defloat(exposed)
    assert card(exposed).floating is None
    exposed.settle()
    assert (router(exposed)["floating"], router(exposed)["routed"]) == ([], [exposed.routed])
    assert kinds() == ["deletion-halo"]
    assert exposed.findings() == []


def test_fl_3_what_does_not_float_cannot_be_taken(guest):
    with pytest.raises(Conflict, match="no floating address"):
        defloat(guest)


def test_fl_3_an_interface_floats_again_at_once(exposed):
    defloat(exposed)
    again = exposed.ask(address_expose.request_float, exposed.caller, card(exposed)).row
    exposed.settle()
    assert again != exposed.floating
    assert [each["address"] for each in router(exposed)["floating"]] == [again]


def test_4114_unroute_releases_the_reservation(exposed):
    unroute(exposed, exposed.routed)
    exposed.settle()
    assert router(exposed)["routed"] == []
    assert kinds() == ["deletion-halo"]
    assert exposed.findings() == []


def test_fl_4_not_routed_is_not_found_and_routed_by_another_is_forbidden(exposed):
    """#2094."""
    for address in (exposed.floating, "198.19.0.250", "10.0.0.5"):
        with pytest.raises(NotFound):
            unroute(exposed, address)
    with pytest.raises(Invalid):
        unroute(exposed, "nonsense")
    exposed.network = exposed.ask(network_create.request, exposed.caller, new_network("second")).row
    with pytest.raises(Forbidden):
        unroute(exposed, exposed.routed)


def test_fl_4_twice_is_not_found(exposed):
    unroute(exposed, exposed.routed)
    with pytest.raises(NotFound):
        unroute(exposed, exposed.routed)


def test_fl_4_an_address_that_the_router_may_still_have_stays_reserved(exposed):
    carrier = next(node for node in exposed.nodes if node.host.inventory().routers)
    carrier.host.fail_next("ensure_router", Refused("router.no_egress"))
    gone = defloat(exposed)
    exposed.settle()
    assert Operation.objects.get(pk=gone.operation.pk).state == "cancelled"
    assert kinds() == []
    assert Address.objects.get(network=FLOATING, kind="floating").owner_uuid == exposed.network.pk


def test_repeats_are_harmless(exposed):
    assert repeats_are_harmless(exposed, defloat).state == "succeeded"

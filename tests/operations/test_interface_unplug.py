"""interface_unplug: a card goes, then its addresses rest and its MAC is free."""

import pytest

from nodeagent.host import Retry
from sftasks.operations import address_expose, instance_delete, instance_power, interface_unplug, network_delete
from sfweb.errors import Conflict, NotFound
from sfweb.models import FLOATING, Address, Interface, Operation, PoolAllocation
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step


def unplug(cluster):
    card = Interface.objects.select_related("instance").get(instance=cluster.instance)
    return cluster.ask(interface_unplug.request, cluster.caller, card)


def domain(cluster):
    return cluster.home.host.domain(str(cluster.instance.pk))


def test_ni_6_address_and_mac_are_free_once_the_guest_has_let_go(guest):
    card = unplug(guest).row
    assert Interface.objects.get(pk=card.pk).state == "delete-wait"
    assert Address.objects.filter(owner_uuid=card.pk).exists()
    guest.settle()
    card.refresh_from_db()
    assert (card.state, card.mac) == ("deleted", None)
    assert domain(guest).macs == ()
    assert Address.objects.get(kind="deletion-halo").network_id == card.network_id
    assert not PoolAllocation.objects.filter(owner_uuid=card.pk).exists()
    assert guest.findings() == []


def test_ni_6_its_dhcp_reservation_goes(guest):
    unplug(guest)
    guest.settle()
    routers = [held for node in guest.nodes for held in node.host._store._held["routers"].values()]
    assert [router["hosts"] for router in routers] == [[]]


def test_ni_6_its_floating_address_rests_too(guest):
    card = Interface.objects.get(instance=guest.instance)
    floating = guest.ask(address_expose.request_float, guest.caller, card)
    guest.settle()
    outside = Address.objects.get(network=FLOATING, owner_uuid=card.pk)
    assert (floating.operation.state, outside.kind) == ("waiting", "floating")
    unplug(guest)
    guest.settle()
    outside.refresh_from_db()
    assert (outside.kind, Interface.objects.get(pk=card.pk).floating) == ("deletion-halo", None)
    assert guest.findings() == []


def test_a_guest_that_does_not_let_go_keeps_its_card(guest):
    guest.home.host.fail_next("detach_interface", Retry("device.busy"), times=99)
    accepted = unplug(guest)
    guest.settle(200)
    assert Operation.objects.get(pk=accepted.operation.pk).error_code == "device.busy"
    assert Interface.objects.get(pk=accepted.row.pk).state == "created"
    assert len(domain(guest).macs) == 1
    assert guest.findings() == []


def test_a_paused_guest_lets_go_of_nothing(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "pause")
    guest.settle()
    with pytest.raises(Conflict, match="paused"):
        unplug(guest)


def test_asked_twice_it_is_one_operation_and_then_it_is_gone(guest):
    first, second = unplug(guest), unplug(guest)
    assert first.operation.pk == second.operation.pk
    guest.settle()
    with pytest.raises(NotFound):
        unplug(guest)


def test_a_delete_of_the_instance_in_between_leaves_nothing(guest):
    unplug(guest)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert set(Interface.objects.values_list("state", flat=True)) == {"deleted"}
    assert guest.findings() == []


def test_nw_7_a_network_waits_for_a_card_that_is_being_unplugged(guest):
    unplug(guest)
    guest.ask(network_delete.request, guest.caller, guest.network)
    guest.settle()
    guest.network.refresh_from_db()
    assert guest.network.state == "deleted"
    assert guest.findings() == []


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, unplug).state == "succeeded"


def test_unwinds_from_every_step(make_guest):
    assert unwinds_from_every_step(make_guest, unplug)[0] == "ensure_instance"


def test_repeated_undo_is_harmless(guest):
    assert repeated_undo_is_harmless(guest, unplug, "ensure_instance").state == "failed"

"""outside_addresses: what nobody uses is released, what is used is reserved, and doubt changes nothing (FL-8)."""

import ipaddress
import uuid

import pytest
from django.db import OperationalError

from nodeagent.host import Refused
from sftasks.operations import address_expose, address_withdraw
from sftasks.reconcilers import node_objects, outside_addresses
from sfweb.models import FLOATING, Address, Event, Interface, Network, NodeObject
from sfweb.models.fields import FromNow

NOTHING = {"released": 0, "reserved": 0}


def sweep(cluster):
    return cluster.run(outside_addresses.run)


def age():
    Address.objects.filter(network=FLOATING).update(reserved_at=FromNow(-400))
    Address.objects.filter(network=FLOATING, released_at__isnull=False).update(released_at=FromNow(-400))


@pytest.fixture
def exposed(guest):
    guest.card = Interface.objects.get(instance=guest.instance)
    guest.floating = guest.ask(address_expose.request_float, guest.caller, guest.card).row
    guest.routed = guest.ask(address_expose.request_route, guest.caller, guest.network).row
    guest.settle()
    return guest


def row(address):
    return Address.objects.get(network=FLOATING, value=int(ipaddress.IPv4Address(address)))


def test_fl_8_what_is_in_use_is_left_alone(exposed):
    age()
    assert sweep(exposed) == NOTHING


def test_fl_8_what_nobody_refers_to_is_released_after_its_grace(exposed):
    Interface.objects.filter(pk=exposed.card.pk).update(floating=None)
    assert sweep(exposed) == NOTHING
    age()
    assert sweep(exposed) == {"released": 1, "reserved": 0}
    assert row(exposed.floating).kind == "deletion-halo"
    assert Event.objects.filter(message="unused outside address released").count() == 1
    assert sweep(exposed) == NOTHING


def test_fl_4_fl_8_a_withdrawal_that_could_not_be_told_is_finished_when_it_was(exposed):
    """The router may have the address until it confirms its newest wish; no sweep is quicker than that."""
    carrier = next(node for node in exposed.nodes if node.host.inventory().routers)
    carrier.host.fail_next("ensure_router", Refused("router.no_egress"))
    exposed.ask(address_withdraw.request_defloat, exposed.caller, exposed.card)
    exposed.settle()
    age()
    assert sweep(exposed) == NOTHING
    assert row(exposed.floating).kind == "floating"
    NodeObject.objects.filter(object_type="router").update(error=None)
    exposed.run(node_objects.run)
    exposed.settle()
    assert sweep(exposed) == {"released": 1, "reserved": 0}


def test_fl_8_what_is_used_without_a_reservation_is_reserved_as_what_it_is(exposed):
    gateway = Network.objects.get(pk=exposed.network.pk).floating_gateway
    Address.objects.filter(network=FLOATING, kind__in=("gateway", "floating")).exclude(owner_uuid=FLOATING).delete()
    assert sweep(exposed) == {"released": 0, "reserved": 2}
    assert (row(exposed.floating).kind, row(exposed.floating).owner_uuid) == ("floating", exposed.card.pk)
    assert (row(gateway).kind, row(gateway).owner_uuid) == ("gateway", exposed.network.pk)
    assert sweep(exposed) == NOTHING


def test_fl_8_an_address_that_two_use_is_told_and_not_touched(exposed):
    stranger = uuid.uuid4()
    Address.objects.filter(pk=row(exposed.floating).pk).update(owner_uuid=stranger)
    assert sweep(exposed) == NOTHING
    assert row(exposed.floating).owner_uuid == stranger
    assert Event.objects.filter(message="outside address is used twice").exists()


def test_sr_4_a_read_that_fails_releases_nothing(exposed, monkeypatch):
    Interface.objects.filter(pk=exposed.card.pk).update(floating=None)
    age()

    def fail():
        yield from ()
        raise OperationalError(2013, "gone")

    monkeypatch.setattr(outside_addresses, "_uses", fail)
    with pytest.raises(OperationalError):
        sweep(exposed)
    assert row(exposed.floating).kind == "floating"

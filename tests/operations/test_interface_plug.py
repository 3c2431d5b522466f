"""interface_plug: one more card in a running guest; taken back whole when it cannot be had."""

import pytest

from nodeagent.host import Refused
from sftasks import engine, sweep
from sftasks.operations import instance_power, interface_plug, network_create
from sftasks.reconcilers import node_objects, node_states
from sfweb.domain.specs import NewInterface
from sfweb.errors import Conflict, Invalid, NotFound, NotReady
from sfweb.models import FLOATING, Address, Instance, Interface, Node, Operation, OperationTarget, PoolAllocation
from sfweb.models.fields import FromNow
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step
from tests.factories import make_namespace, new_network


def plug(cluster, **card):
    wanted = NewInterface(**{"network": "net", **card})
    return cluster.ask(interface_plug.request, cluster.caller, cluster.instance, wanted)


def macs(cluster):
    return cluster.home.host.domain(str(cluster.instance.pk)).macs


def test_ni_4_the_address_is_reserved_and_the_operation_visible_at_once(guest):
    accepted = plug(guest)
    card = Interface.objects.get(pk=accepted.row.pk)
    assert (card.state, card.order) == ("initial", 1)
    assert Address.objects.filter(owner_uuid=card.pk).count() == 1
    targets = OperationTarget.objects.filter(operation=accepted.operation).values_list("target_type", flat=True)
    assert set(targets) == {"instance", "interface", "network"}
    guest.settle()
    card.refresh_from_db()
    assert card.state == "created"
    assert card.mac in macs(guest) and len(macs(guest)) == 2
    assert guest.findings() == []


def test_ni_4_a_new_network_comes_to_the_node_first(guest):
    guest.ask(network_create.request, guest.caller, new_network("second", netblock="10.1.0.0/24"))
    guest.settle()
    plug(guest, network="second")
    guest.settle()
    assert len(guest.home.host.inventory().networks) == 2
    assert len(macs(guest)) == 2
    assert guest.findings() == []


def test_ni_4_a_stopped_instance_gets_it_at_its_next_start(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    guest.settle()
    accepted = plug(guest)
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"
    assert guest.home.host.domain(str(guest.instance.pk)) is None
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweron")
    guest.settle()
    assert len(macs(guest)) == 2


def test_ni_5_a_mac_that_is_in_use_is_a_conflict(guest):
    taken = Interface.objects.get(instance=guest.instance).mac
    before = PoolAllocation.objects.count()
    with pytest.raises(Conflict, match="MAC"):
        plug(guest, mac=taken)
    assert plug(guest, mac="02:00:00:aa:bb:cc").row.mac == "02:00:00:aa:bb:cc"
    assert PoolAllocation.objects.count() == before + 1


def test_ni_1_addresses_that_cannot_be_had(guest):
    taken = Interface.objects.get(instance=guest.instance).address
    with pytest.raises(Invalid):
        plug(guest, address="10.9.9.9")
    with pytest.raises(Conflict):
        plug(guest, address=taken)
    make_namespace("stranger")
    guest.ask(network_create.request, make_namespace("stranger"), new_network("theirs", "stranger"))
    with pytest.raises(NotFound):
        plug(guest, network="theirs")
    guest.ask(network_create.request, guest.caller, new_network("young", netblock="10.2.0.0/24"))
    with pytest.raises(NotReady):
        plug(guest, network="young")
    assert Interface.objects.filter(instance=guest.instance).count() == 1


def test_an_instance_that_is_not_created_gets_none(guest):
    Instance.objects.filter(pk=guest.instance.pk).update(state="error")
    with pytest.raises(NotReady):
        plug(guest)


def test_ni_3_what_is_refused_gives_everything_back(guest):
    guest.home.host.fail_next("attach_interface", Refused("device.refused", "no slot"))
    accepted = plug(guest)
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).error_code == "device.refused"
    assert Interface.objects.get(pk=accepted.row.pk).state == "deleted"
    assert not Address.objects.filter(owner_uuid=accepted.row.pk).exists()
    assert not PoolAllocation.objects.filter(owner_uuid=accepted.row.pk).exists()
    assert len(macs(guest)) == 1
    assert guest.findings() == []


def test_one_that_was_cancelled_before_it_started_gives_everything_back(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "pause")
    accepted = plug(guest)
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "cancelled"
    assert Interface.objects.get(pk=accepted.row.pk).state == "deleted"
    assert guest.findings() == []


def test_en_12_what_was_asked_of_a_node_that_fell_silent_is_settled_when_it_returns(guest):
    accepted = plug(guest)
    Node.objects.filter(pk=guest.home.pk).update(last_seen=FromNow(-1000))
    guest.home.letters.clear()
    for node in guest.nodes:
        if node is not guest.home:
            guest.run(node.work)
            guest.run(node.tell)
    for _ in range(3):
        guest.home.letters.clear()
        guest.run(node_states.run)
        guest.run(sweep.sweep)
    assert Operation.objects.get(pk=accepted.operation.pk).error_code in ("node.missing", "dependency.failed")
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.settle()
    state = Interface.objects.get(pk=accepted.row.pk).state
    assert (state, len(macs(guest))) in {("created", 2), ("deleted", 1)}
    assert guest.findings() == []


def test_two_at_the_same_moment_both_come(guest):
    rows = [plug(guest).row for _ in range(2)]
    guest.settle()
    assert {row.mac for row in rows} < set(macs(guest))
    assert set(Interface.objects.values_list("state", flat=True)) == {"created"}


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, plug).state == "succeeded"


def test_unwinds_from_every_step(make_guest):
    assert "ensure_instance" in unwinds_from_every_step(make_guest, plug)


def test_repeated_undo_is_harmless(guest):
    assert repeated_undo_is_harmless(guest, plug, "ensure_instance").state == "failed"


def test_fl_3_a_card_may_come_with_a_floating_address(guest):
    card = NewInterface(network="net", floating=True)
    made = guest.ask(interface_plug.request, guest.caller, guest.instance, card).row
    guest.settle()
    made.refresh_from_db()
    assert Address.objects.get(network=FLOATING, owner_uuid=made.pk).kind == "floating"
    assert made.floating is not None
    assert guest.findings() == []

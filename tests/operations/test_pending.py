"""Whether an object is busy, asked while operations come and go: order, truth, and what a delete waits for."""

from sftasks import engine
from sftasks.operations import instance_delete, instance_power, instance_snapshot, interface_plug, network_ping
from sftasks.plans.instances import on_node
from sftasks.reconcilers import node_objects
from sfweb.domain import pending
from sfweb.domain.callers import CLUSTER
from sfweb.domain.specs import NewInterface
from sfweb.domain.transactions import durable
from sfweb.models import NodeObject, Operation
from sfweb.models.state import OPEN_OPERATION

_submit = durable(engine.submit)


def state(accepted) -> str:
    return Operation.objects.get(pk=accepted.operation.pk).state


def test_cv_3_what_the_clock_submits_between_two_wishes_does_not_reorder_them(guest):
    """Each runs after the one before it on the same object, whoever made it; the last wish is what is true at the end."""
    first = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    swept = guest.run(_submit, on_node(guest.instance, CLUSTER))
    guest.ask(network_ping.request, guest.caller, guest.network, "10.0.0.1")
    second = guest.ask(instance_power.request, guest.caller, guest.instance, "poweron")
    newest = pending.changing("instance", guest.instance.pk).first()
    assert newest.pk == second.operation.pk
    guest.settle()
    keys = [first.operation.pk, swept.pk, second.operation.pk]
    rows = Operation.objects.filter(pk__in=keys, state="succeeded").order_by("started_at")
    assert [row.pk for row in rows] == keys
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_cv_1_an_operation_that_only_looks_holds_nobody_up(guest):
    guest.ask(network_ping.request, guest.caller, guest.network, "10.0.0.1")
    assert Operation.objects.filter(kind="network_ping", state__in=OPEN_OPERATION).exists()
    assert not pending.is_pending("network", guest.network.pk)


def test_cv_4_pending_stays_true_until_the_card_is_in_whatever_else_ends_meanwhile(guest):
    """The sweep's own operation on the same instance comes and ends while the plug waits for its node."""
    plug = guest.ask(interface_plug.request, guest.caller, guest.instance, NewInterface(network="net"))
    looked = 0
    while state(plug) in OPEN_OPERATION:
        assert pending.is_pending("instance", guest.instance.pk)
        assert pending.pending_among("instance", [guest.instance.pk]) == {guest.instance.pk}
        NodeObject.objects.filter(object_type="network").update(applied_generation=0)
        guest.run(node_objects.run)
        guest.settle(rounds=1)
        looked += 1
        assert looked < 30
    guest.settle()
    assert len(guest.home.host.domain(str(guest.instance.pk)).macs) == 2
    assert not pending.is_pending("instance", guest.instance.pk)


def test_co_16_a_delete_waits_for_a_snapshot_that_runs_and_ends_one_that_waits(guest):
    running = guest.ask(instance_snapshot.request, guest.caller, guest.instance, None, None)
    assert state(running) == "running"
    waiting = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    gone = guest.ask(instance_delete.request, guest.caller, guest.instance)
    assert (state(running), state(waiting), state(gone)) == ("running", "cancelled", "waiting")
    guest.settle()
    assert state(running) in ("succeeded", "cancelled") and state(gone) == "succeeded"
    assert guest.findings() == []

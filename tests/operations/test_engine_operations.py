"""What a cluster operation promises to those who look at it (CO-*), and that claims and rows commit together (SC-3, SC-4)."""

import pytest
from django.db import IntegrityError, transaction

from nodeagent.host import Refused
from sftasks import dispatch, engine, sweep, turns
from sftasks.operation import PlannedStep, kinds
from sftasks.operations import instance_create, instance_power
from sfweb.domain.specs import NewInterface
from sfweb.errors import NoCapacity, NotFound
from sfweb.models import (
    DependencyKind,
    Event,
    EventObject,
    Instance,
    Namespace,
    Node,
    NodeCapacity,
    Operation,
    OperationDependency,
    OperationTarget,
    PlacementReservation,
    Step,
)
from tests.factories import new_instance


def power(cluster, verb="poweroff"):
    return cluster.ask(instance_power.request, cluster.caller, cluster.instance, verb).operation


def again(operation):
    return Operation.objects.get(pk=operation.pk)


def test_co_3_a_target_is_named_once_and_nodes_of_execution_are_none(guest):
    operation = power(guest)
    assert list(OperationTarget.objects.filter(operation=operation).values_list("target_type", flat=True)) == [
        "instance"
    ]
    with pytest.raises(IntegrityError), transaction.atomic():
        OperationTarget.objects.create(operation=operation, target_type="instance", target_uuid=guest.instance.pk)


def test_co_6_depends_on_shares_fate_and_runs_after_does_not(guest):
    failing = Operation.objects.create(kind="network_create", object_key="x:1", state="failed", error_message="why")
    for kind, state in ((DependencyKind.DEPENDS_ON, "cancelled"), (DependencyKind.RUNS_AFTER, "running")):
        waiting = Operation.objects.create(
            kind="instance_reboot",
            object_key=f"y:{kind}",
            params={"instance": str(guest.instance.pk), "verb": "rebootsoft"},
        )
        OperationDependency.objects.create(operation=waiting, needs=failing, kind=kind)
        guest.run(engine.advance, waiting.pk)
        assert again(waiting).state == state
    cancelled = Operation.objects.get(object_key=f"y:{DependencyKind.DEPENDS_ON}")
    assert (cancelled.error_code, cancelled.error_message) == ("dependency.failed", "why")


def test_co_6_a_failure_travels_down_a_chain(guest):
    rows = [
        Operation.objects.create(
            kind="instance_reboot",
            object_key=f"z:{n}",
            params={"instance": str(guest.instance.pk), "verb": "rebootsoft"},
        )
        for n in range(3)
    ]
    failing = Operation.objects.create(kind="instance_reboot", object_key="z:f", state="failed")
    for row, needs in zip(rows, [failing, *rows], strict=False):
        OperationDependency.objects.create(operation=row, needs=needs)
    guest.run(engine.advance, rows[0].pk)
    assert {again(row).state for row in rows} == {"cancelled"}


def test_co_8_stages_run_in_order_and_the_first_failure_stops(guest, monkeypatch):
    first = PlannedStep(
        node=guest.home.pk, action="observe_instance", object_type="instance", object_uuid=guest.instance.pk
    )
    second = PlannedStep(
        node=guest.home.pk, action="reboot_instance", object_type="instance", object_uuid=guest.instance.pk
    )
    kind = kinds()["instance_reboot"]
    monkeypatch.setitem(
        kinds(), "two_stages", type(kind)(name="two_stages", stages=lambda _: [[first], [second]], finish=kind.finish)
    )
    operation = Operation.objects.create(kind="two_stages", object_key="two:stages")
    guest.run(engine.advance, operation.pk)
    assert list(Step.objects.filter(operation=operation, state="sent").values_list("action", flat=True)) == [
        "observe_instance"
    ]
    guest.home.host.fail_next("domain", Refused("cancelled"))
    guest.settle()
    assert again(operation).state == "failed"
    assert set(Step.objects.filter(operation=operation).values_list("action", "state")) == {
        ("observe_instance", "failed"),
        ("reboot_instance", "obsolete"),
    }
    assert not [effect for effect in guest.home.host.effects if effect[0] == "reboot_domain"]


def test_co_9_the_cause_is_stored_with_the_state_and_told(guest):
    power(guest)
    guest.settle()
    guest.home.host.fail_next("start_domain", Refused("disk.full", "no space left"))
    operation = power(guest, "poweron")
    guest.settle()
    row = again(operation)
    assert (row.state, row.error_code, row.error_message) == ("failed", "disk.full", "no space left")
    told = EventObject.objects.filter(object_type="instance", object_uuid=guest.instance.pk).values("event_uuid")
    assert Event.objects.filter(uuid__in=told, message="instance_power failed").exists()


def test_co_10_an_operation_that_has_ended_is_not_advanced(guest):
    operation = power(guest)
    guest.settle()
    before = (again(operation).finished_at, Step.objects.filter(operation=operation).count())
    guest.run(engine.advance, operation.pk)
    assert (again(operation).finished_at, Step.objects.filter(operation=operation).count()) == before


def test_co_14_an_ended_operation_and_its_events_stay_readable(guest):
    operation = power(guest)
    guest.settle()
    told = EventObject.objects.filter(object_type="operation", object_uuid=operation.pk).values("event_uuid")
    messages = list(Event.objects.filter(uuid__in=told).order_by("at").values_list("message", flat=True))
    assert messages[0] == "instance_power requested"
    assert sorted(messages[1:]) == ["execution duration", "instance_power succeeded"], "told in one moment"


def test_sc_3_sc_4_counters_reservation_and_instance_commit_together_or_not_at_all(served):
    with pytest.raises(NotFound):
        served.ask(
            instance_create.request,
            served.caller,
            new_instance("guest", "tenant", interfaces=(NewInterface(network="net"), NewInterface(network="gone"))),
        )
    assert not Instance.objects.exists() and not PlacementReservation.objects.exists()
    assert set(NodeCapacity.objects.values_list("used_cpus", flat=True)) == {0}
    instance = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net")).row
    reservation = PlacementReservation.objects.get(instance=instance)
    assert (reservation.state, reservation.node_id) == ("claimed", instance.node_id)
    assert NodeCapacity.objects.get(node_id=instance.node_id).used_cpus == 1
    served.settle()
    assert PlacementReservation.objects.get(instance=instance).state == "consumed"


def test_sc_21_a_refused_create_is_not_queued(served):
    NodeCapacity.objects.update(limit_cpus=0)
    before = Operation.objects.count()
    with pytest.raises(NoCapacity):
        served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))
    NodeCapacity.objects.update(limit_cpus=48)
    served.settle()
    assert Operation.objects.count() == before
    assert not Instance.objects.exists()


def test_en_7_a_namespace_that_is_going_takes_no_new_instance(served):
    Namespace.objects.filter(name="tenant").update(state="deleted")
    with pytest.raises(NotFound):
        served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))


def test_qp_1_what_people_wait_for_is_handed_out_first_and_no_more_than_there_is_room_for(guest):
    """No message is needed for that: the answer to the node's report has it."""
    for number, priority in enumerate([30] * 20 + [20] * 20):
        operation = Operation.objects.create(
            kind="instance_reboot",
            object_key=f"k:{number}",
            state="running",
            running_key=f"k:{number}",
            priority=priority,
            namespace=guest.instance.namespace,
        )
        planned = PlannedStep(
            node=guest.home.pk,
            action="reboot_instance",
            object_type="instance",
            object_uuid=guest.instance.pk,
            arguments={"mode": "hard"},
        )
        dispatch.plan(operation, {0: [planned]})
    messages = guest.run(dispatch.hand_out, Node.objects.get(pk=guest.home.pk), [])
    assert len(messages) == turns.OF_ONE_LANE[False], "one namespace leaves a thread to the others"
    sent = Step.objects.filter(token__in=[message.token for message in messages])
    assert set(sent.values_list("operation__priority", flat=True)) == {20}


def test_qp_9_what_waited_starts_in_the_call_that_ends_what_it_waited_for(guest, monkeypatch):
    """No ladder of waits: the end wakes its dependents, and the sweep is not needed."""
    monkeypatch.setattr(sweep, "sweep", dict)
    first = power(guest)
    second = guest.ask(instance_power.request, guest.caller, guest.instance, "poweron").operation
    guest.run(engine.depend, second, [first], kind=DependencyKind.RUNS_AFTER)
    assert (again(first).state, again(second).state) == ("running", "waiting")
    guest.run(guest.home.work)
    guest.run(guest.home.tell)
    assert (again(first).state, again(second).state) == ("succeeded", "running")
    assert (again(second).started_at - again(first).finished_at).total_seconds() < 1

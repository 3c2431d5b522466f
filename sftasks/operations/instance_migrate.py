"""Move an instance to another node: live while it runs, by copying its disks while it is off.

The rows say where the instance is, and they change in one transaction: for a running guest once both nodes were looked at
and the guest was seen there, for one that is off once the other node has all its files. Before that only the former node
may start it, after that only the other one, and the former one keeps its disks until the other one has confirmed the
instance. While nobody can know where the guest runs the operation waits: it never guesses, and nothing else works on the
instance meanwhile.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F

from sftasks import engine, moves, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain import limits, node_life, nodes, pending, reservations
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotReady
from sfweb.models import Instance, Node, NodeObject, Operation, Step, Wanted
from sfweb.models.state import State, StepState, transition

LIVE, COLD, SHUT_DOWN = "live", "cold", "shut_down"
SEND = 1
"""The stage of a live move from which the guest may be elsewhere."""
SWITCH = {LIVE: 3, COLD: 2, SHUT_DOWN: 2}
"""By the way of moving: the stage that begins with the switch."""
UNMOVABLE_BUSES = ("nvme",)


@durable
def request(caller: Caller, instance: Instance, placed_on: str | None = None, live: bool | None = None) -> Accepted:
    """`live` null: as the instance is; false: a guest that runs is shut down first and started again there.

    Raises NotReady until the instance is created, NoCapacity with a reason for each node, Conflict for what cannot move.
    """
    limits.lock(instance.namespace_id)
    operation = engine.submit(instances.wish("instance_migrate", instance, caller))
    known = Instance.objects.select_related("node").get(pk=instance.pk)
    _require_movable(known, operation, live)
    how = _way(known, live)
    assert known.node is not None, "an instance that is created has a node"
    offer, asked = moves.find_place(known, placed_on, _unfit(known, how))
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    _require_movable(row, operation, live)
    if row.node_id != known.node_id or _way(row, live) != how:
        raise Conflict("the instance has just changed", code="instance.busy")
    taken = moves.claim(row, offer, asked, caller)
    wishes.want(offer.node, "instance", row.pk)
    if how == SHUT_DOWN:
        # That the guest then ends by itself is no wish of its owner's.
        Instance.objects.filter(pk=row.pk).update(power_generation=F("generation") + 1)
        instances.raise_generation(row.pk)
    former = {"console_port": row.console_port, "vdi_port": row.vdi_port}
    engine.remember(operation, former=former, source=str(row.node_id), target=str(offer.node), how=how, **taken)
    engine.aim((operation, [("node", known.node.pk), ("node", offer.node)]))
    engine.depend(operation, moves.bring(row, offer.node, moves.blobs_of(row), caller))
    return Accepted(row, operation)


def _way(row: Instance, live: bool | None) -> str:
    if row.power == "off":
        return COLD
    return SHUT_DOWN if live is False else LIVE


def _require_movable(row: Instance, operation: Operation, live: bool | None) -> None:
    if row.state != State.CREATED:
        raise NotReady(f"instance {row.name} is {row.state}")
    pending.require_idle(row.pk, operation.pk)
    if live and row.power == "off":
        raise Conflict(f"instance {row.name} is off: nothing of it runs that could be moved", code="instance.power")
    if live is False and row.power == "paused":
        raise Conflict(f"instance {row.name} is paused: its guest cannot shut down", code="instance.power")
    if _way(row, live) == LIVE:
        stay = sorted(row.disks.filter(bus__in=UNMOVABLE_BUSES).values_list("device", flat=True))
        if stay:
            message = f"these devices cannot move while the guest runs: {', '.join(stay)}"
            raise Conflict(message, code="migration.devices", details={"devices": stay})
    assert row.node is not None, "an instance that is created has a node"
    nodes.require_reporting(row.node)


def _unfit(row: Instance, how: str) -> set[UUID]:
    """Its own node, those that may have something of it, and for a running guest those of another kind."""
    assert row.node is not None
    found = moves.still_holding(row.pk) | {row.node.pk}
    if how == LIVE:
        others = Node.objects.exclude(state=State.DELETED).values_list("pk", "facts")
        found |= moves.unlike(row.node.pk, row.node.facts, list(others))
    return found


def stages(operation: Operation) -> Sequence[Stage]:
    instance, params = Instance.objects.get(pk=operation.params["instance"]), operation.params
    source, target, how = UUID(params["source"]), UUID(params["target"]), params["how"]
    ports = {name: params[name] for name in ("console_port", "vdi_port")}

    def on(node: UUID, action: str, **arguments: Any) -> Any:
        return instances.step_on(node, instance, action, **arguments)

    arrive = [on(target, "receive_instance", running=how == LIVE, **ports)]
    confirm, clear = [on(target, "ensure_instance")], [on(source, "remove_instance")]
    if how == LIVE:
        go = [on(source, "migrate_instance", target=str(target), **ports)]
        look = [on(source, "observe_instance"), on(target, "observe_instance")]
        return [arrive, go, look, confirm, clear]
    if how == COLD:
        return [[on(source, "ensure_instance", power="off")], arrive, confirm, clear]
    patience = settings.SHUT_DOWN_SECONDS
    return [[on(source, "shut_down_instance", patience=patience)], arrive, confirm, clear]


def entered(operation: Operation, stage: int) -> None:
    """Before the switch: is the guest there? Then the rows say so; else it stays where it is."""
    params = operation.params
    if stage != SWITCH[params["how"]]:
        return
    instance = Instance.objects.select_for_update().get(pk=params["instance"])
    lost = instance.state == State.ERROR and instance.error_message == node_life.LOST
    if lost and params["how"] == LIVE and _has_arrived(operation):
        transition(instance, State.CREATED, error_message=None)  # its source came back empty, and it had left by then
    if instance.state != State.CREATED:
        engine.fail(operation, "instance.gone", f"the instance is {instance.state}")
    elif params["how"] == LIVE and not _has_arrived(operation):
        engine.fail(operation, *_why_it_stayed(operation))
    else:
        moves.switch(instance, UUID(params["target"]), params)


def _has_arrived(operation: Operation) -> bool:
    """What both nodes showed, after the source had ended its part: never by what the source said alone, but when it is sure."""
    said = _outcome(operation, "migrate_instance", "source")
    here = _outcome(operation, "observe_instance", "source").get("result", {}).get("power", "off")
    there = _outcome(operation, "observe_instance", "target").get("result", {}).get("power", "off")
    if said.get("kind") == "done" and here == "off":
        return True
    return bool((there == "on" and here != "on") or (there == "paused" and here == "off"))


def _why_it_stayed(operation: Operation) -> tuple[str, str]:
    said = _outcome(operation, "migrate_instance", "source")
    return said.get("code") or "migration.failed", said.get("message") or "the guest is where it was"


def _outcome(operation: Operation, action: str, end: str) -> Mapping[str, Any]:
    steps = Step.objects.filter(operation=operation, action=action, node_id=operation.params[end], purpose="do")
    step = steps.filter(state=StepState.DONE).first()
    return (step.outcome or {}) if step else {}


def committed(operation: Operation) -> bool:
    """From here on only the look at both nodes, and after the switch only the way forward."""
    if Instance.objects.values_list("state", flat=True).get(pk=operation.params["instance"]) != State.CREATED:
        return False
    how = operation.params["how"]
    return operation.stage >= (SEND if how == LIVE else SWITCH[how])


def retract(operation: Operation) -> None:
    """The target is to have nothing of it, unless the guest is there: then the source is to have nothing.

    A guest that did not run has all its disks at the source until the target has confirmed it: until then it goes back.
    """
    params = operation.params
    instance = Instance.objects.select_for_update().get(pk=params["instance"])
    target, source = UUID(params["target"]), UUID(params["source"])
    stays = instance.state == State.CREATED  # one that is being deleted is wanted nowhere
    if stays and instance.node_id == target and params["how"] != LIVE and not _confirmed(operation):
        moves.switch(instance, source, params["former"])
    if instance.node_id != target:
        wishes.retract(target, "instance", instance.pk)
    instances.raise_generation(instance.pk)


def _confirmed(operation: Operation) -> bool:
    row = NodeObject.objects.filter(
        node_id=operation.params["target"], object_type="instance", object_uuid=operation.params["instance"]
    ).first()
    return row is not None and row.applied_wanted == Wanted.PRESENT


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    target, source = UUID(operation.params["target"]), UUID(operation.params["source"])
    if instance.node_id == target:
        reservations.consume(instance)
        if ended.ok and instance.state == State.CREATED:
            instances.note_power(instance, operation)
    else:
        wishes.retract(target, "instance", instance.pk)
    moves.leave(instance, source if instance.node_id == target else target)


OPERATION = Kind(
    name="instance_migrate",
    stages=stages,
    finish=finish,
    retract=retract,
    entered=entered,
    finds_out=frozenset({"migrate_instance", "observe_instance"}),
    committed=committed,
    priority=20,
)

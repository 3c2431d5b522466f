"""An instance on its node as its rows say now: what the reconciler of wishes submits when a node lost or still holds it."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import attachment, devices, moves, wishes
from sftasks.operation import Ended, Kind, PlannedStep, Stage, served
from sfweb.domain import node_life
from sfweb.models import Instance, NodeObject, Operation, Step, Wanted
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, StepState


def stages(operation: Operation) -> Sequence[Stage]:
    """First it is made where it should be, then taken away elsewhere: a node lets go of the only copy last."""
    instance = UUID(operation.params["instance"])
    steps: dict[str, list[PlannedStep]] = {Wanted.PRESENT: [], Wanted.ABSENT: []}
    for row in wishes.may_hold("instance", instance).order_by("node_id"):
        action = served()["instance"].action(row.wanted)
        steps[row.wanted].append(
            PlannedStep(node=row.node_id, action=action, object_type="instance", object_uuid=instance)
        )
    return [stage for stage in steps.values() if stage]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    if ended.ok and instance.state == State.CREATED:
        done = Step.objects.filter(operation=operation, action="ensure_instance", state=StepState.DONE)
        if done.exists():
            Instance.objects.filter(pk=instance.pk).update(observed_power=instance.power, power_observed_at=UtcNow())
    devices.settle(instance)
    moves.settle(instance)
    was_never_made = instance.state == State.ERROR and instance.error_message != node_life.DEAD
    if (instance.state == State.DELETED or was_never_made) and not _still_wanted(instance):
        attachment.release(instance)
        attachment.leave(instance)


def _still_wanted(instance: Instance) -> bool:
    return NodeObject.objects.filter(object_type="instance", object_uuid=instance.pk, wanted=Wanted.PRESENT).exists()


OPERATION = Kind(
    name="instance_on_node",
    stages=stages,
    finish=finish,
    mend=attachment.mend_ports,
    coalesces=True,
    priority=15,
)

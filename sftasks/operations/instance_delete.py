"""Delete an instance: the guest and its files go, then what it took is free again."""

from collections.abc import Sequence

from sftasks import attachment, engine, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Instance, NodeObject, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, State, transition


@durable
def request(caller: Caller, instance: Instance) -> Accepted:
    """Ask for the end of the instance. Repeated, it answers the same operation; a deleted one is NotFound."""
    wish = instances.wish("instance_delete", instance, caller)
    running = Operation.objects.filter(
        object_key=wish.object_key, kind="instance_delete", state__in=OPEN_OPERATION
    ).first()
    if running is not None:
        return Accepted(Instance.objects.get(pk=instance.pk), running)
    operation = engine.submit(wish)
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    if row.state == State.DELETED:
        raise NotFound(f"instance not found: {row.pk}")
    if row.state != State.DELETE_WAIT:
        transition(row, State.DELETE_WAIT)
    if row.node_id is not None:
        wishes.retract(row.node_id, "instance", row.pk)
    instances.raise_generation(row.pk)
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    instance = Instance.objects.select_related("node").get(pk=operation.params["instance"])
    holds = NodeObject.objects.filter(object_type="instance", object_uuid=instance.pk, node=instance.node)
    nodes = set(wishes.lingering("instance", instance.pk))  # of an earlier stay, or a start that was refused
    if instance.node_id and holds.exists():
        nodes.add(instance.node_id)
    gone = [instances.step_on(node, instance, "remove_instance") for node in sorted(nodes)]
    return [gone] if gone else []


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    if not ended.ok:
        transition(instance, State.ERROR, error_message=f"{ended.code}: {ended.message}")
        return
    transition(instance, State.DELETED, deleted_at=UtcNow(), observed_power="off", power_observed_at=UtcNow())
    attachment.release(instance)
    attachment.leave(instance)


OPERATION = Kind(name="instance_delete", stages=stages, finish=finish, coalesces=True, supersedes=True, priority=10)

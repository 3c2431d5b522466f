"""Capture disks of an instance, all at one moment, as new versions of its snapshot artifacts. A running guest runs on."""

import uuid
from collections.abc import Sequence

from sftasks import captures, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain import snapshots
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.models import Instance, Operation, SnapshotSet


def ask(
    caller: Caller,
    instance: Instance,
    devices: Sequence[str] | None = None,
    max_versions: int | None = None,
    schedule: uuid.UUID | None = None,
) -> Accepted:
    """`request` in a transaction that is open already; `schedule`: whose tick it is."""
    identity = uuid.uuid4()
    operation = engine.submit(instances.wish("instance_snapshot", instance, caller, snapshot=str(identity)))
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    row.namespace = instance.namespace
    by_whom = {"reason": "schedule", "schedule_uuid": schedule} if schedule else {}
    snapshot = captures.promise(row, snapshots.disks_to_capture(row, devices), max_versions, uuid=identity, **by_whom)
    engine.aim(operation, captures.targets(snapshot))
    return Accepted(snapshot, operation)


@durable
def request(
    caller: Caller, instance: Instance, devices: Sequence[str] | None = None, max_versions: int | None = None
) -> Accepted:
    """`devices` null: all disks. Raises NotReady until the instance is created, NotFound for a device that it has not."""
    return ask(caller, instance, devices, max_versions)


def stages(operation: Operation) -> Sequence[Stage]:
    return [[captures.step(Instance.objects.get(pk=operation.params["instance"]), operation.params["snapshot"])]]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    snapshot = SnapshotSet.objects.select_for_update().get(pk=operation.params["snapshot"])
    assert instance.node_id is not None, "an instance that was created has a node"
    facts = outcomes.facts(operation, "snapshot_instance")
    if ended.ok and facts is not None:
        captures.keep(snapshot, instance.node_id, facts)
    else:
        captures.give_up(snapshot, instance.node_id, f"{ended.code}: {ended.message}")


OPERATION = Kind(name="instance_snapshot", stages=stages, finish=finish, priority=20)

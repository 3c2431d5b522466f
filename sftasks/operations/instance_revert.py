"""Put all disks of an instance back to a snapshot set: same uuid, addresses and MACs; what was is captured first.

The guest is switched off, its disks are captured, and only when that succeeded do its disks' rows name the set's blobs.
From there on the way leads forward alone: the old files may be gone, but the set that was just made holds them.
"""

from collections.abc import Sequence
from uuid import UUID

from sftasks import attachment, captures, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain import pending, snapshots
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.models import Blob, Disk, Instance, Operation, SnapshotSet
from sfweb.models.state import State

RESTORE = 2
"""The stage that begins with the disks' rows naming the set's blobs."""


@durable
def request(caller: Caller, instance: Instance, snapshot: SnapshotSet) -> Accepted:
    """Raises NotReady until the instance is created, Conflict for a set that is not whole or not of these disks."""
    operation = engine.submit(instances.wish("instance_revert", instance, caller))
    blobs = snapshots.blobs_of(SnapshotSet.objects.select_for_update().get(pk=snapshot.pk))
    for blob in Blob.objects.select_for_update().filter(pk__in=blobs.values()).order_by("pk"):
        snapshots.require_blob(blob)
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    pending.require_unmoved(row.pk)
    disks = snapshots.disks_to_capture(row, None)
    snapshots.require_match(disks, blobs)
    [(before, targets)] = captures.promise([captures.Capture(row, disks, columns={"reason": "revert"})])
    engine.aim((operation, targets))
    wanted = {device: str(blob) for device, blob in blobs.items()}
    engine.remember(operation, snapshot=str(before.pk), blobs=wanted)
    assert row.node_id is not None, "an instance that is created has a node"
    copies = [attachment.bring_blob(Blob.objects.get(pk=blob), row.node_id, caller) for blob in blobs.values()]
    engine.depend(operation, [copy for copy in copies if copy])
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    instance = Instance.objects.get(pk=operation.params["instance"])
    return [
        [instances.step(instance, "ensure_instance", power="off")],
        [captures.step(instance, operation.params["snapshot"])],
        [instances.step(instance, "ensure_instance")],
    ]


def entered(operation: Operation, stage: int) -> None:
    """What was is safe with the node: now the disks are to be what they were in the set."""
    if stage != RESTORE:
        return
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    _keep_what_was(operation, instance)
    former = Disk.objects.filter(instance=instance, blob__isnull=False).values_list("blob_id", flat=True)
    engine.remember(operation, former=[str(blob) for blob in former])
    blobs = operation.params["blobs"]
    for disk in instance.disks.filter(device__in=blobs):
        captures.lay_on(disk, blobs[disk.device])
    instances.raise_generation(instance.pk)


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    snapshot = SnapshotSet.objects.select_for_update().get(pk=operation.params["snapshot"])
    if snapshot.state == State.INITIAL:
        assert instance.node_id is not None, "an instance that was created has a node"
        captures.give_up(snapshot, instance.node_id, f"{ended.code}: {ended.message}")
    if ended.ok:
        instances.note_power(instance, operation)
        for blob in Blob.objects.filter(pk__in=operation.params["former"]).order_by("pk"):
            attachment.discard_blob(blob)


def retract(operation: Operation) -> None:
    """The rows say what is wished at every moment: before RESTORE the disks that are, after it those of the set."""
    instances.raise_generation(UUID(operation.params["instance"]))


def _keep_what_was(operation: Operation, instance: Instance) -> None:
    facts = outcomes.facts(operation, "snapshot_instance")
    assert facts is not None and instance.node_id is not None, "the stage before this one was the capture"
    captures.keep(SnapshotSet.objects.select_for_update().get(pk=operation.params["snapshot"]), instance.node_id, facts)


OPERATION = Kind(
    name="instance_revert",
    stages=stages,
    finish=finish,
    retract=retract,
    entered=entered,
    mend=attachment.mend_ports,
    priority=15,
)

"""Give an instance one more disk: at once when it runs and the bus allows that, else while it is off."""

from uuid import UUID

from sftasks import attachment, devices, engine
from sftasks.operation import Accepted
from sftasks.plans import instances
from sfweb.domain import artifact_refs, claims, limits, reservations
from sfweb.domain.callers import Caller
from sfweb.domain.instance_rules import HOT_BUSES, MAX_DISKS
from sfweb.domain.rows import insert
from sfweb.domain.specs import NewDisk
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict
from sfweb.models import Disk, Instance, Operation
from sfweb.models.state import State, transition


@claims.telling()
@durable
def request(caller: Caller, instance: Instance, wanted: NewDisk) -> Accepted:
    """Take the room and write the disk. Raises NotFound, NotReady, Conflict or NoCapacity, and then nothing is left."""
    blob = artifact_refs.resolve(caller, wanted.base, instance.namespace)
    limits.lock(instance.namespace_id)
    operation = engine.submit(instances.wish("disk_attach", instance, caller))
    row = devices.lock_created(instance.pk)
    _require_fitting(row, wanted)
    blob = next(iter(devices.lock_blobs([blob])), None)
    disk = Disk(
        instance=row,
        position=(row.disks.order_by("-position").values_list("position", flat=True).first() or 0) + 1,
        device=devices.free_device(row, wanted.bus),
        bus=wanted.bus,
        kind=wanted.kind,
        size_gb=wanted.size_gb,
        room_gb=devices.room_gb(wanted, blob),
        base=wanted.base,
        blob=blob,
        state=State.INITIAL,
    )
    insert([disk])
    reservations.enlarge(row, reservations.room_of(row))
    limits.check_disk_growth(row.namespace_id, disk.room_gb)
    engine.remember(operation, disk=str(disk.pk))
    instances.raise_generation(row.pk)
    if blob is not None:
        assert row.node_id is not None
        needed = attachment.bring_blob(blob, row.node_id, caller)
        engine.depend(operation, [needed] if needed else [])
    return Accepted(disk, operation)


def _require_fitting(row: Instance, wanted: NewDisk) -> None:
    if row.power != "off" and wanted.bus not in HOT_BUSES:
        raise Conflict(
            f"a disk on {wanted.bus} can only be attached while the instance is off: it is {row.power}",
            code="instance.power",
        )
    if row.disks.count() >= MAX_DISKS:
        raise Conflict(f"an instance has at most {MAX_DISKS} disks", code="instance.full")


def retract(operation: Operation) -> None:
    """The disk is not wanted any more; its room stays taken until the node has confirmed that."""
    disk = Disk.objects.filter(pk=operation.params["disk"], state=State.INITIAL).first()
    if disk is not None:
        transition(disk, State.DELETE_WAIT)
    instances.raise_generation(UUID(operation.params["instance"]))


OPERATION = devices.change("disk_attach", retract)

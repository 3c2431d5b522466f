"""Change an instance's name or size, or make its disks larger: the wish is in the rows, the former values in `params` (EN-1)."""

from typing import Any
from uuid import UUID

from sftasks import attachment, devices, engine
from sftasks.operation import Accepted
from sftasks.plans import instances
from sfweb.domain import claims, limits, reservations
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.specs import InstanceChange
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Invalid, NotFound
from sfweb.models import Disk, Instance, Operation
from sfweb.models.state import State

COLUMNS = ("name", "cpus", "memory_mb")


@claims.telling()
@durable
def request(caller: Caller, instance: Instance, change: InstanceChange) -> Accepted:
    """Raises NotReady, Conflict while it runs, Invalid for a disk that would shrink, NoCapacity where it does not fit."""
    limits.lock(instance.namespace_id)
    operation = engine.submit(instances.wish("instance_update", instance, caller))
    row = devices.lock_created(instance.pk)
    wanted = {name: value for name in COLUMNS if (value := getattr(change, name)) is not None}
    if {"cpus", "memory_mb"} & set(wanted) and row.power != "off":
        raise Conflict(
            f"cpus and memory change only while the instance is off: {row.name} is {row.power}", code="instance.power"
        )
    grown = _grow(row, dict(change.disks))
    engine.remember(
        operation,
        former={name: getattr(row, name) for name in wanted},
        ours=wanted,
        disks=grown,
    )
    Instance.objects.filter(pk=row.pk).update(**wanted)
    row.refresh_from_db()
    reservations.enlarge(row, reservations.room_of(row))
    limits.check_disk_growth(row.namespace_id, sum(size - room for _, room, size in grown.values()))
    instances.raise_generation(row.pk)
    if "name" in wanted:
        attachment.tell_routers(row, caller)
    return Accepted(row, operation)


def _grow(row: Instance, sizes: dict[str, int]) -> dict[str, list[int]]:
    """Write the new sizes; {disk: [size and room before, size now]}."""
    grown = {}
    for device, size in sizes.items():
        disk = row.disks.exclude(state=State.DELETE_WAIT).select_related("blob").filter(device=device).first()
        if disk is None:
            raise NotFound(f"disk not found: {device}")
        if disk.kind != "disk":
            raise Invalid(f"disk: {device} is a {disk.kind} and has one size")
        image = -(-(disk.blob.virtual_size or 0) // devices.GIB) if disk.blob else 0
        now = max(disk.size_gb, image)
        if size <= now:
            raise Invalid(f"disk: {device} has {now} GiB and can only grow")
        grown[str(disk.pk)] = [disk.size_gb, disk.room_gb, size]
        Disk.objects.filter(pk=disk.pk).update(size_gb=size, room_gb=size)
    return grown


def retract(operation: Operation) -> None:
    """Put the former values back, each unless a newer wish has replaced ours. A file that has grown stays as large."""
    params: dict[str, Any] = operation.params
    rows = Instance.objects.filter(pk=params["instance"])
    for name, ours in params["ours"].items():
        put_back = rows.filter(**{name: ours}).update(**{name: params["former"][name]})
        if put_back and name == "name":
            attachment.tell_routers(rows.get(), CLUSTER)
    for disk, (size, room, ours) in params["disks"].items():
        Disk.objects.filter(pk=disk, size_gb=ours).update(size_gb=size, room_gb=room)
    instances.raise_generation(UUID(params["instance"]))


OPERATION = devices.change("instance_update", retract)

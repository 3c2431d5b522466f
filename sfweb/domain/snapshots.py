"""Which disks may be captured, and which set may be put back."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_own
from sfweb.errors import Conflict, Invalid, NotFound, NotReady
from sfweb.models import Blob, Disk, Instance, SnapshotSet
from sfweb.models.state import State


def disks_to_capture(instance: Instance, devices: Sequence[str] | None) -> list[Disk]:
    """The instance's own disks, or those named; CD-ROMs hold nothing of its own. Its row must be locked.

    For many instances they are read at once: `prefetch_related("disks")`.
    """
    if instance.state != State.CREATED:
        raise NotReady(f"instance {instance.name} is {instance.state}")
    disks = sorted(instance.disks.all(), key=attrgetter("position"))
    for disk in disks:
        if disk.state != State.CREATED:
            raise Conflict(f"disk {disk.device} is being attached or detached", code="instance.changing")
    kinds = {disk.device: disk.kind for disk in disks}
    for device in devices or ():
        if device not in kinds:
            raise NotFound(f"instance {instance.name} has no disk {device}")
        if kinds[device] != "disk":
            raise Invalid(f"device: {device} is a {kinds[device]}, which is not captured")
    chosen = [disk for disk in disks if disk.kind == "disk" and (devices is None or disk.device in devices)]
    if not chosen:
        raise Conflict(f"instance {instance.name} has no disk that can be captured", code="snapshot.no_disks")
    return chosen


def devices_named(instance: Instance, wanted: Mapping[str, Any]) -> list[str] | None:
    """What a request means: one device, all (null), or the first disk when it says nothing."""
    if wanted.get("all"):
        return None
    if "device" in wanted:
        return [wanted["device"]]
    disks = instance.disks.filter(kind="disk").order_by("position").values_list("device", flat=True)
    return [disks[0]] if disks else None


def find(caller: Caller, ref: str) -> SnapshotSet:
    rows = SnapshotSet.objects.select_related("namespace").exclude(state=State.DELETED)
    return find_own(rows, "snapshot", caller, ref)


def find_of(caller: Caller, ref: str, instance: Instance) -> SnapshotSet:
    row = find(caller, ref)
    if row.instance_uuid != instance.uuid:
        raise NotFound(f"snapshot not found: {ref} is not of instance {instance.name}")
    return row


def blobs_of(snapshot: SnapshotSet) -> dict[str, uuid.UUID]:
    """{device: blob} of a set that was captured whole."""
    if snapshot.state != State.CREATED:
        raise Conflict(f"snapshot {snapshot.pk} is {snapshot.state}", code="snapshot.not_ready")
    return dict(snapshot.versions.order_by("device").values_list("device", "blob_id"))


def require_blob(blob: Blob) -> None:
    if blob.state != State.CREATED:
        raise Conflict(f"blob {blob.pk} of the snapshot is {blob.state}", code="snapshot.incomplete")


def require_match(disks: Sequence[Disk], blobs: Mapping[str, uuid.UUID]) -> None:
    """A revert is of the whole instance: every disk of it is in the set, and nothing else is."""
    present = {disk.device for disk in disks}
    if present != set(blobs):
        raise Conflict(
            f"the instance has {', '.join(sorted(present))}, the snapshot has {', '.join(sorted(blobs)) or 'nothing'}",
            code="snapshot.incomplete",
            details={"instance": sorted(present), "snapshot": sorted(blobs)},
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A set that disks can be made of: {device: blob}."""

    snapshot: uuid.UUID
    blobs: Mapping[str, uuid.UUID]


def newest_to_be_had(instance: Instance) -> Source:
    """The newest whole set of just the instance's disks, each of which some living node has. Raises Conflict without one."""
    own = set(instance.disks.filter(kind="disk").exclude(state=State.DELETE_WAIT).values_list("device", flat=True))
    sets = SnapshotSet.objects.filter(instance_uuid=instance.uuid, state=State.CREATED)
    for snapshot in sets.order_by("-created_at", "-uuid"):
        blobs = blobs_of(snapshot)
        here = Blob.objects.filter(pk__in=blobs.values(), state=State.CREATED, locations__node__state=State.CREATED)
        if set(blobs) == own and here.distinct().count() == len(set(blobs.values())):
            return Source(snapshot=snapshot.pk, blobs=blobs)
    raise Conflict(f"instance {instance.name} has no snapshot of all its disks that could be had", code="snapshot.none")

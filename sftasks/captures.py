"""Snapshot sets as rows: promised by a request, kept or given up when the node has answered.

Called inside the transactions of operations. The blobs exist as rows from the request on, so that the caller knows their
uuids; a set has one state for all its disks (AR-14).
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import F

from sftasks import attachment
from sftasks.operation import PlannedStep
from sftasks.plans import instances
from sfweb.domain import archives, artifact_refs, schedules
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.rows import insert
from sfweb.models import Artifact, ArtifactKind, ArtifactVersion, Blob, Disk, Instance, Schedule, SnapshotSet
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition


def promise(instance: Instance, disks: Sequence[Disk], max_versions: int | None = None, **columns: Any) -> SnapshotSet:
    """A set of these disks that is still to be captured. The instance's row must be locked.

    Raises Again when another request made one of the artifacts in this moment.
    """
    made = SnapshotSet(
        namespace_id=instance.namespace_id,
        instance_uuid=instance.pk,
        instance_name=instance.name,
        settings=archives.settings_of(instance),
        **columns,
    )
    insert([made])
    for disk in disks:
        artifact = artifact_refs.artifact_of(
            instance.namespace,
            ArtifactKind.SNAPSHOT,
            f"sf://instance/{instance.pk}/{disk.device}",
            name=f"{instance.pk}/{disk.device}",
        )
        if max_versions not in (None, artifact.max_versions):
            Artifact.objects.filter(pk=artifact.pk).update(max_versions=max_versions)
        blob = Blob()
        insert([blob])
        artifact_refs.attach_version(artifact, blob, snapshot_set=made, device=disk.device)
    return made


def lay_on(disk: Disk, blob: UUID | str) -> None:
    """The disk's row says from now on that it is what the blob is, and no longer what it was."""
    Disk.objects.filter(pk=disk.pk).update(blob=blob, base=f"sf://blob/{blob}", revision=F("revision") + 1)


def targets(snapshot: SnapshotSet) -> list[tuple[str, UUID]]:
    """The artifacts and blobs of the set, as targets of the operation that captures it."""
    rows = list(snapshot.versions.order_by("device").values_list("artifact_id", "blob_id"))
    return [("artifact", artifact) for artifact, _ in rows] + [("blob", blob) for _, blob in rows]


def step(instance: Instance, snapshot: UUID | str) -> PlannedStep:
    return instances.step(instance, "snapshot_instance", snapshot=str(snapshot), quiesce=bool(instance.side_channels))


def keep(snapshot: SnapshotSet, node: UUID, facts: Mapping[str, Any]) -> None:
    """The node has captured the set; a disk whose artifact was deleted meanwhile is not kept."""
    for version in snapshot.versions.select_related("artifact").order_by("artifact_id"):
        artifact = Artifact.objects.select_for_update().get(pk=version.artifact_id)
        blob = Blob.objects.select_for_update().get(pk=version.blob_id)
        if blob.state != State.INITIAL:
            attachment.blob_not_made(blob, node)
            continue
        attachment.blob_made(blob, node, facts["blobs"][version.device])
        _trim(artifact, snapshot)
    transition(snapshot, State.CREATED, quiesced=bool(facts["quiesced"]))


def _trim(artifact: Artifact, snapshot: SnapshotSet) -> None:
    """What a schedule that is no more has made stays."""
    if snapshot.schedule_uuid is None:
        attachment.trim_versions(artifact)
        return
    schedule = Schedule.objects.filter(pk=snapshot.schedule_uuid).exclude(state=State.DELETED).first()
    if schedule is not None:
        attachment.trim_scheduled(artifact, schedule.pk, schedules.snapshots_kept(schedule))


def give_up(snapshot: SnapshotSet, node: UUID, message: str) -> None:
    """Nothing was captured, or nobody knows: the versions go, and an artifact that has no others with them."""
    for version in list(snapshot.versions.order_by("artifact_id")):
        artifact = Artifact.objects.select_for_update().get(pk=version.artifact_id)
        blob = Blob.objects.select_for_update().get(pk=version.blob_id)
        _drop_version(version, artifact)
        attachment.blob_not_made(blob, node)
    transition(snapshot, State.ERROR, error_message=message)


def drop(snapshot: SnapshotSet, caller: Caller = CLUSTER) -> None:
    """Delete a set that has ended; a blob that a disk lies on stays for as long as it does."""
    for version in list(snapshot.versions.select_related("blob").order_by("artifact_id")):
        _drop_version(version, Artifact.objects.select_for_update().get(pk=version.artifact_id))
        attachment.discard_blob(version.blob, caller)
    transition(snapshot, State.DELETED, deleted_at=UtcNow())


def _drop_version(version: ArtifactVersion, artifact: Artifact) -> None:
    version.delete()
    if artifact.state != State.DELETED and not artifact.versions.exists():
        transition(artifact, State.DELETED, active_key=None, deleted_at=UtcNow())

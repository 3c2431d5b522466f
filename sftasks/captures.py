"""Snapshot sets as rows: promised by a request, kept or given up when the node has answered.

Called inside the transactions of operations. The blobs exist as rows from the request on, so that the caller knows their
uuids; a set has one state for all its disks (AR-14).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
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


class Capture(NamedTuple):
    """What is to be captured of an instance, whose row is locked; `columns` are the set's own."""

    instance: Instance
    disks: Sequence[Disk]
    max_versions: int | None = None
    columns: Mapping[str, Any] = {}


class Promised(NamedTuple):
    """A set that is still to be captured; its artifacts and blobs as targets of the operation that does."""

    snapshot: SnapshotSet
    targets: list[tuple[str, UUID]]


def promise(captures: Sequence[Capture]) -> list[Promised]:
    """A set for each. Raises Again when another request made one of the artifacts in this moment."""
    settings = archives.settings_of([one.instance for one in captures])
    sets = [
        SnapshotSet(
            namespace_id=one.instance.namespace_id,
            instance_uuid=one.instance.pk,
            instance_name=one.instance.name,
            settings=settings[one.instance.pk],
            **one.columns,
        )
        for one in captures
    ]
    insert(sets)
    promised = [Promised(made, []) for made in sets]
    disks = [(one, to, disk) for one, to in zip(captures, promised, strict=True) for disk in one.disks]
    artifacts = artifact_refs.artifacts_of([_source(one.instance, disk) for one, _, disk in disks])
    blobs = [Blob() for _ in disks]
    insert(blobs)
    versions = []
    for (one, to, disk), artifact, blob in zip(disks, artifacts, blobs, strict=True):
        _keep_versions(artifact, one.max_versions)
        versions.append((artifact, blob, {"snapshot_set": to.snapshot, "device": disk.device}))
        to.targets.extend([("artifact", artifact.pk), ("blob", blob.pk)])
    artifact_refs.attach_versions(versions)
    return promised


def _source(instance: Instance, disk: Disk) -> artifact_refs.Source:
    name = f"{instance.pk}/{disk.device}"
    return artifact_refs.Source(instance.namespace, ArtifactKind.SNAPSHOT, f"sf://instance/{name}", name)


def _keep_versions(artifact: Artifact, number: int | None) -> None:
    if number not in (None, artifact.max_versions):
        Artifact.objects.filter(pk=artifact.pk).update(max_versions=number)


def lay_on(disk: Disk, blob: UUID | str) -> None:
    """The disk's row says from now on that it is what the blob is, and no longer what it was."""
    Disk.objects.filter(pk=disk.pk).update(blob=blob, base=f"sf://blob/{blob}", revision=F("revision") + 1)


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

"""Snapshots: captured disks as the public client reads them, and the sets that they belong to, which are ours."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import instance_revert, instance_snapshot, snapshot_delete
from sfweb.api.artifacts import MOST_VERSIONS, artifact_views
from sfweb.api.base import ApiView, Flag, Input, Nothing, Number, Page, Text, accepted, seconds, started, takes
from sfweb.api.blobs import blob_views
from sfweb.api.filters import SnapshotFilter
from sfweb.api.lists import Filtered, listed, living
from sfweb.domain import snapshots
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_instance
from sfweb.models import ArtifactVersion, SnapshotSet
from sfweb.models.state import State

SHOWN_OF_THE_SET = ("index", "blob_uuid", "blobs")


class SnapshotInput(Input):
    """`all` disks, one `device`, or neither: the first disk. A captured disk is always whole: `thin` changes nothing."""

    all = Flag()
    device = Text(max_length=16)
    thin = Flag()
    max_versions = Number(min_value=1, max_value=MOST_VERSIONS)


def captured(snapshot: uuid.UUID) -> dict[str, Any]:
    """What a request promised: {device: where its blob will be}."""
    versions = ArtifactVersion.objects.filter(snapshot_set=snapshot).select_related("artifact").order_by("device")
    return {
        version.device: {
            "source_url": version.artifact.source_url,
            "artifact_uuid": str(version.artifact_id),
            "blob_uuid": str(version.blob_id),
        }
        for version in versions
    }


def entry_views(caller: Caller, versions: Sequence[ArtifactVersion]) -> list[dict[str, Any]]:
    """As the client reads captured disks: the artifact, overlaid with the blob, by the same queries for any number."""
    rows = {version.artifact_id: version.artifact for version in versions}
    artifacts = {view["uuid"]: view for view in artifact_views(caller, list(rows.values()))}
    blobs = {view["uuid"]: view for view in blob_views([version.blob for version in versions])}
    return [
        {name: value for name, value in artifacts[str(version.artifact_id)].items() if name not in SHOWN_OF_THE_SET}
        | blobs[str(version.blob_id)]
        | {
            "uuid": str(version.artifact_id),
            "blob_uuid": str(version.blob_id),
            "index": version.index,
            "device": version.device,
            "created": seconds(version.created_at),
            "snapshot_uuid": str(version.snapshot_set_id),
        }
        for version in versions
    ]


class InstanceSnapshots(ApiView):
    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        versions = ArtifactVersion.objects.filter(snapshot_set__instance_uuid=instance.uuid)
        versions = versions.exclude(artifact__state=State.DELETED).select_related("artifact__namespace", "blob")
        rows = versions.order_by("created_at", "device", "pk")
        return listed(request, rows, wanted, partial(entry_views, self.caller))

    @takes(SnapshotInput, creates=True, shown=captured)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        devices = snapshots.devices_named(instance, wanted)
        made = instance_snapshot.request(self.caller, instance, devices, wanted.get("max_versions"))
        return started(request, made.operation, captured(made.row.pk))


class RevertInput(Input):
    """`snapshot` is the uuid of a set that holds every disk of the instance."""

    snapshot = Text(required=True, max_length=36)


class InstanceRevert(ApiView):
    """Ours: put all disks back to a set. What was before is itself captured; the answer names that set."""

    @takes(RevertInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        made = instance_revert.request(
            self.caller, instance, snapshots.find_of(self.caller, wanted["snapshot"], instance)
        )
        view = {"operation": str(made.operation.pk), "before": made.operation.params["snapshot"]}
        return accepted(request, made.operation, view)


def set_views(rows: Sequence[SnapshotSet]) -> list[dict[str, Any]]:
    """Sets with their disks, by two queries more for any number of them; rows come with namespace selected."""
    uuids = [row.uuid for row in rows]
    disks: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    versions = ArtifactVersion.objects.filter(snapshot_set__in=uuids).select_related("blob").order_by("device")
    for version in versions:
        assert version.snapshot_set_id is not None
        disks[version.snapshot_set_id].append(
            {
                "device": version.device,
                "artifact_uuid": str(version.artifact_id),
                "blob_uuid": str(version.blob_id),
                "version": version.index,
                "size": version.blob.size or 0,
                "state": version.blob.state,
            }
        )
    return [
        {
            "uuid": str(row.uuid),
            "state": row.state,
            "namespace": row.namespace.name,
            "instance_uuid": str(row.instance_uuid),
            "instance_name": row.instance_name,
            "reason": row.reason,
            "recurring_operation": str(row.schedule_uuid) if row.schedule_uuid else None,
            "quiesced": row.quiesced,
            "error_message": row.error_message,
            "created_at": seconds(row.created_at),
            "disks": disks[row.uuid],
        }
        for row in rows
    ]


class ListInput(Filtered):
    """`instance` is a uuid, or the name of an instance that is there; `recurring_operation` the uuid of one, living or not."""

    filters = SnapshotFilter
    instance = Text(max_length=64)
    recurring_operation = serializers.UUIDField(required=False)


class SnapshotSets(ApiView):
    family = "artifact"

    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = living(SnapshotSet.objects.select_related("namespace"), wanted)
        if not self.caller.is_system:
            rows = rows.filter(namespace_id=self.own_uuid)
        if "instance" in wanted:
            rows = rows.filter(instance_uuid=find_instance(self.caller, wanted["instance"]).uuid)
        if "recurring_operation" in wanted:
            rows = rows.filter(schedule_uuid=wanted["recurring_operation"])
        return listed(request, rows.order_by("created_at", "uuid"), wanted, set_views, SnapshotFilter)


class SnapshotSetDetail(ApiView):
    family = "artifact"

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(set_views([snapshots.find(self.caller, ref)])[0])

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """All of its disks together; what a disk of an instance lies on stays for as long as it does."""
        row = snapshots.find(self.caller, ref)
        gone = snapshot_delete.request(self.caller, row)
        return started(request, gone.operation, set_views([row])[0])

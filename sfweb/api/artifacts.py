"""Artifacts: named, versioned things made of blobs."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ChoiceField

from sftasks.operations import artifact_delete, artifact_fetch, artifact_publish, artifact_trim
from sfweb.api.base import ApiView, Flag, Input, Nothing, Number, Page, Text, started, takes
from sfweb.api.blobs import Uses, blob_views
from sfweb.api.filters import LISTED, ArtifactFilter
from sfweb.api.lists import Filtered, listed
from sfweb.api.operation_pointers import pointers
from sfweb.domain.artifact_rules import (
    grant,
    grants_of,
    new_artifact,
    new_uploaded_artifact,
    reasons_to_see,
    revoke,
    share,
)
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.deletion import namespace_to_empty
from sfweb.domain.lookup import find_artifact, find_node, visible_artifacts
from sfweb.domain.metadata import metadata_of
from sfweb.domain.pending import pending_among
from sfweb.errors import NotFound
from sfweb.models import Artifact, ArtifactVersion, Permission
from sfweb.models.state import State

MOST_VERSIONS = 1000


def artifact_views(caller: Caller, rows: Sequence[Artifact]) -> list[dict[str, Any]]:
    """As the client reads artifacts. `rows` come with namespace selected; seven queries more."""
    uuids = [row.uuid for row in rows]
    versions: dict[Any, list[ArtifactVersion]] = defaultdict(list)
    found = ArtifactVersion.objects.filter(artifact__in=uuids, blob__state=State.CREATED).select_related("blob")
    for version in found.order_by("artifact", "index"):
        versions[version.artifact_id].append(version)
    uses = Uses([version.blob_id for several in versions.values() for version in several])
    metadata, reasons = metadata_of("artifact", uuids), reasons_to_see(caller, rows)
    busy = pending_among("artifact", uuids)
    return [
        _view(row, versions[row.uuid], uses, metadata[row.uuid])
        | {"visible_because": reasons[row.uuid], "has_pending_operations": row.uuid in busy}
        for row in rows
    ]


def _view(row: Artifact, versions: Sequence[ArtifactVersion], uses: Uses, metadata: dict[str, Any]) -> dict[str, Any]:
    view: dict[str, Any] = {
        "uuid": str(row.uuid),
        "state": row.state,
        "metadata": metadata,
        "version": 1,
        "name": row.name,
        "artifact_type": row.kind,
        "source_url": row.source_url,
        "max_versions": row.max_versions,
        "namespace": row.namespace.name,
        "shared": row.shared,
        "error_message": row.error_message,
        "index": versions[-1].index if versions else 0,
        "blobs": {
            str(version.index): {
                "uuid": str(version.blob_id),
                "size": version.blob.size or 0,
                "reference_count": uses.count(version.blob_id),
                "depends_on": None,
                "instances": uses.instances(version.blob_id),
            }
            for version in versions
        },
    }
    if versions:
        view["blob_uuid"] = str(versions[-1].blob_id)
    return view


def shown(ref: uuid.UUID, caller: Caller = CLUSTER) -> dict[str, Any]:
    """One artifact as its rows stand now, with its operations."""
    row = Artifact.objects.select_related("namespace").get(pk=ref)
    return artifact_views(caller, [row])[0] | pointers("artifact", ref)


class ListInput(Filtered):
    """`node` is a node's name or uuid: only artifacts of which it holds a blob."""

    filters = ArtifactFilter
    node = Text(max_length=64)


class NewArtifactInput(Input):
    url = Text(required=True)
    shared = Flag()
    namespace = Text()
    sha512 = Text()


class DeleteAllInput(Input):
    confirm = Flag()
    namespace = Text(max_length=64)


class Artifacts(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = visible_artifacts(self.caller).select_related("namespace").filter(state__in=LISTED)
        if "node" in wanted:
            holder = find_node(wanted["node"])
            rows = rows.filter(versions__blob__locations__node=holder).distinct()
        views = partial(artifact_views, self.caller)
        return listed(request, rows.order_by("created_at", "uuid"), wanted, views, ArtifactFilter)

    @takes(NewArtifactInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        made = artifact_fetch.request(self.caller, new_artifact(self.caller, wanted, settings.FETCH_ALLOW))
        return started(request, made.operation, shown(made.row.uuid, self.caller))

    @takes(DeleteAllInput)
    def delete(self, request: Request, wanted: dict[str, Any]) -> Response:
        namespace = namespace_to_empty(self.caller, wanted)
        rows = Artifact.objects.select_related("namespace").filter(namespace=namespace, state__in=LISTED)
        return Response([str(artifact_delete.request(self.caller, row).row.uuid) for row in rows])


class PublishInput(Input):
    upload_uuid = Text(max_length=36)
    blob_uuid = Text(max_length=36)
    url = Text()
    source_url = Text()
    artifact_type = Text()
    sha512 = Text()
    max_versions = Number(min_value=1, max_value=MOST_VERSIONS)
    shared = Flag()
    namespace = Text()


class ArtifactUpload(ApiView):
    @takes(PublishInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any], name: str) -> Response:
        checked = new_uploaded_artifact(self.caller, name, wanted, settings.FETCH_ALLOW)
        made = artifact_publish.request(self.caller, checked)
        promised = {"blob_uuid": made.operation.params["blob"]}  # the client reads it at once
        return started(request, made.operation, promised | shown(made.row.uuid, self.caller))


class ArtifactDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(shown(find_artifact(self.caller, ref).uuid, self.caller))

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        if row.state == State.DELETED:
            raise NotFound(f"artifact not found: {ref}")
        gone = artifact_delete.request(self.caller, row)
        return started(request, gone.operation, shown(row.uuid, self.caller))


def version_views(rows: Sequence[ArtifactVersion]) -> list[dict[str, Any]]:
    """The blobs of versions, each with its number. `rows` come with blob selected."""
    views = blob_views([row.blob for row in rows])
    return [view | {"index": row.index} for row, view in zip(rows, views, strict=True)]


class VersionsInput(Input):
    max_versions = Number(required=True, min_value=1, max_value=MOST_VERSIONS)


class ArtifactVersions(ApiView):
    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        versions = ArtifactVersion.objects.filter(artifact=find_artifact(self.caller, ref), blob__state=State.CREATED)
        return listed(request, versions.select_related("blob").order_by("index"), wanted, version_views)

    @takes(VersionsInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        trimmed = artifact_trim.request(self.caller, row, keep=wanted["max_versions"])
        return started(request, trimmed.operation, None)


class ArtifactVersionDetail(ApiView):
    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str, index: int) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        trimmed = artifact_trim.request(self.caller, row, index=index)
        return started(request, trimmed.operation, shown(row.uuid, self.caller))


class GrantInput(Input):
    """`permission` is what is granted: reading is all there is, for only the owner writes."""

    namespace = Text(required=True)
    permission = ChoiceField(choices=Permission.choices, required=False)


class ArtifactGrants(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(grants_of(find_artifact(self.caller, ref, to_write=True)))

    @takes(GrantInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        grant(self.caller, row, wanted["namespace"])
        return Response(grants_of(row))


class ArtifactGrantDetail(ApiView):
    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str, namespace: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        revoke(self.caller, row, namespace)
        return Response(grants_of(row))


class ArtifactShare(ApiView):
    """`shared` comes from the address table."""

    shared = True

    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        share(row, self.shared)
        return Response(shown(row.uuid, self.caller))

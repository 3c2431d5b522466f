"""Artifacts: named, versioned things made of blobs."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import artifact_delete, artifact_fetch, artifact_publish
from sfweb.api.base import ApiView, Flag, Input, Nothing, Number, Page, Text, page, started, takes
from sfweb.api.blobs import Uses, blob_views
from sfweb.api.operation_pointers import pointers
from sfweb.domain.artifact_rules import new_artifact, new_uploaded_artifact, set_max_versions, share
from sfweb.domain.deletion import namespace_to_empty
from sfweb.domain.lookup import find_artifact, find_node, visible_artifacts
from sfweb.domain.metadata import metadata_of
from sfweb.errors import NotFound
from sfweb.models import Artifact, ArtifactVersion
from sfweb.models.state import State

LISTED = (State.INITIAL, State.CREATED, State.ERROR)


def artifact_views(rows: Sequence[Artifact]) -> list[dict[str, Any]]:
    """As the client reads artifacts. `rows` come with namespace selected; four queries more."""
    uuids = [row.uuid for row in rows]
    versions: dict[Any, list[ArtifactVersion]] = defaultdict(list)
    found = ArtifactVersion.objects.filter(artifact__in=uuids, blob__state=State.CREATED).select_related("blob")
    for version in found.order_by("artifact", "index"):
        versions[version.artifact_id].append(version)
    uses = Uses([version.blob_id for several in versions.values() for version in several])
    metadata = metadata_of("artifact", uuids)
    return [_view(row, versions[row.uuid], uses, metadata[row.uuid]) for row in rows]


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


def shown(ref: uuid.UUID) -> dict[str, Any]:
    """One artifact as its rows stand now, with its operations."""
    row = Artifact.objects.select_related("namespace").get(pk=ref)
    return artifact_views([row])[0] | pointers("artifact", ref)


class ListInput(Page):
    """`node` is a node's name or uuid: only artifacts of which it holds a blob."""

    node = Text()


class NewArtifactInput(Input):
    url = Text(required=True)
    shared = Flag()
    namespace = Text()
    sha512 = Text()


class DeleteAllInput(Input):
    confirm = Flag()
    namespace = Text()


class Artifacts(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = visible_artifacts(self.caller).select_related("namespace").filter(state__in=LISTED)
        if "node" in wanted:
            holder = find_node(wanted["node"])
            rows = rows.filter(versions__blob__locations__node=holder).distinct()
        return Response(artifact_views(page(rows.order_by("created_at", "uuid"), wanted)))

    @takes(NewArtifactInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        made = artifact_fetch.request(self.caller, new_artifact(self.caller, wanted, settings.FETCH_ALLOW))
        return started(request, made.operation, shown(made.row.uuid))

    @takes(DeleteAllInput)
    def delete(self, request: Request, wanted: dict[str, Any]) -> Response:
        namespace = namespace_to_empty(self.caller, wanted)
        rows = Artifact.objects.select_related("namespace").filter(namespace=namespace, state__in=LISTED)
        return Response([str(artifact_delete.request(self.caller, row).row.uuid) for row in rows])


class PublishInput(Input):
    upload_uuid = Text(max_length=36)
    blob_uuid = Text(max_length=36)
    source_url = Text()
    shared = Flag()
    namespace = Text()


class ArtifactUpload(ApiView):
    @takes(PublishInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any], name: str) -> Response:
        made = artifact_publish.request(self.caller, new_uploaded_artifact(self.caller, name, wanted))
        return started(request, made.operation, shown(made.row.uuid))


class ArtifactDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(shown(find_artifact(self.caller, ref).uuid))

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        if row.state == State.DELETED:
            raise NotFound(f"artifact not found: {ref}")
        gone = artifact_delete.request(self.caller, row)
        return started(request, gone.operation, shown(row.uuid))


class VersionsInput(Input):
    max_versions = Number(required=True, min_value=1, max_value=1000)


class ArtifactVersions(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        versions = ArtifactVersion.objects.filter(artifact=find_artifact(self.caller, ref), blob__state=State.CREATED)
        found = list(versions.select_related("blob").order_by("index"))
        views = blob_views([version.blob for version in found])
        return Response([view | {"index": version.index} for version, view in zip(found, views, strict=True)])

    @takes(VersionsInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        set_max_versions(find_artifact(self.caller, ref, to_write=True), wanted["max_versions"])
        return Response(None)


class ArtifactShare(ApiView):
    """`shared` comes from the address table."""

    shared = True

    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_artifact(self.caller, ref, to_write=True)
        share(row, self.shared)
        return Response(shown(row.uuid))

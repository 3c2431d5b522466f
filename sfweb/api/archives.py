"""Instances as files: an exported one to read, and one to be made of such a file. Ours."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import instance_create
from sfweb.api.base import ApiView, Input, Nothing, Text, started, takes
from sfweb.api.blobs import from_a_holder
from sfweb.api.instances import CardInput, NewInstanceInput, shown
from sfweb.domain import archives, snapshots
from sfweb.domain.artifact_refs import newest_version
from sfweb.domain.instance_rules import new_instance
from sfweb.domain.lookup import find_artifact, find_namespace
from sfweb.domain.transactions import durable
from sfweb.errors import Invalid, NotReady
from sfweb.models import Artifact, Blob
from sfweb.models.state import State


class SnapshotExport(ApiView):
    """A tar with the instance's settings and the set's disks, streamed from the nodes that hold them."""

    family = "artifact"

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> HttpResponseBase:
        snapshot = snapshots.find(self.caller, ref)
        length, parts = archives.pieces(snapshot)
        for part in parts:
            if isinstance(part, Blob) and part.size:
                # A disk that no node gives out is a 503 here, and a broken file once bytes went out.
                _exactly(part, 0, 1)
        response = StreamingHttpResponse(_bytes(parts), content_type="application/x-tar")
        response["Content-Length"] = str(length)
        response["Content-Disposition"] = f'attachment; filename="{snapshot.instance_name}.tar"'
        return response


def _bytes(parts: list[bytes | Blob]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        elif part.size:
            yield from from_a_holder(part, 0, part.size)


class ImportInput(Input):
    """`artifact` is an uploaded export. What is said beside it stands instead of what the file says."""

    artifact = Text(required=True)
    name = Text()
    namespace = Text()
    placed_on = Text()
    network = CardInput(many=True, required=False)


class Imports(ApiView):
    family = "instance"

    @takes(ImportInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        archive = _archive(find_artifact(self.caller, wanted["artifact"]))
        said, members = archives.read(lambda at, length: _exactly(archive, at, length), archive.size or 0)
        instance = NewInstanceInput(data=_settings(said, wanted, archive))
        instance.is_valid(raise_exception=True)
        checked = new_instance(self.caller, instance.validated_data, settings.FETCH_ALLOW)
        durable(archives.adopt)(find_namespace(self.caller, checked.namespace), archive, members)
        made = instance_create.request(self.caller, checked)
        return started(request, made.operation, shown(made.row.uuid))


def _archive(artifact: Artifact) -> Blob:
    version = newest_version(artifact, State.CREATED)
    if version is None:
        raise NotReady(f"artifact {artifact.name} has no content yet")
    return version.blob


def _settings(said: dict[str, Any], wanted: dict[str, Any], archive: Blob) -> dict[str, Any]:
    """The body of a request for the instance: the file's settings, the caller's word first, its disks by where they lie."""
    if not all(isinstance(name, str) for name in said):
        raise Invalid("archive: its settings are no object")
    disks = [
        {name: value for name, value in disk.items() if name != "device"}
        | {"base": archives.base_of(archive, disk["device"])}
        for disk in said["disk"]
    ]
    given = {name: value for name, value in wanted.items() if name != "artifact"}
    return {**said, "disk": disks, **given}


def _exactly(archive: Blob, at: int, length: int) -> bytes:
    return b"".join(from_a_holder(archive, at, length)) if length else b""

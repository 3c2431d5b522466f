"""Blobs: immutable bytes, shown and streamed from a node that holds them."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import ApiView, Input, Nothing, Number, Page, SystemView, Text, page, seconds, takes
from sfweb.domain.lookup import find_blob, find_node, may_read_blob
from sfweb.domain.metadata import metadata_of
from sfweb.errors import Invalid, NotReady, SteadyfistError, Unavailable
from sfweb.models import ArtifactVersion, Blob, BlobLocation, Disk, Node
from sfweb.models.state import State
from sfweb.node_bytes import open_blob

MAX_OFFSET = 2**63 - 1
ALGORITHMS = ("sha512",)


class Uses:
    """What refers to some blobs: two queries for any number of them."""

    def __init__(self, uuids: Sequence[uuid.UUID]) -> None:
        versions = ArtifactVersion.objects.filter(blob__in=uuids).exclude(artifact__state=State.DELETED)
        self._counts = Counter(versions.values_list("blob_id", flat=True))
        self._instances: dict[Any, list[str]] = defaultdict(list)
        disks = Disk.objects.filter(blob__in=uuids).exclude(instance__state=State.DELETED)
        for blob, instance in disks.order_by("blob", "instance").values_list("blob_id", "instance_id").distinct():
            self._counts[blob] += 1
            self._instances[blob].append(str(instance))

    def count(self, blob: uuid.UUID) -> int:
        return self._counts[blob]

    def instances(self, blob: uuid.UUID) -> list[str]:
        return self._instances[blob]


def blob_views(rows: Sequence[Blob]) -> list[dict[str, Any]]:
    """As the client reads blobs, by four queries more for any number of them."""
    uuids = [row.uuid for row in rows]
    metadata, uses = metadata_of("blob", uuids), Uses(uuids)
    locations: dict[Any, list[str]] = defaultdict(list)
    for blob, name in (
        BlobLocation.objects.filter(blob__in=uuids).order_by("node__name").values_list("blob_id", "node__name")
    ):
        locations[blob].append(name)
    return [
        {
            "uuid": str(row.uuid),
            "state": row.state,
            "metadata": metadata[row.uuid],
            "version": 1,
            "size": row.size or 0,
            "modified": seconds(row.fetched_at or row.created_at),
            "fetched_at": seconds(row.fetched_at or row.created_at),
            "depends_on": None,
            "transcodes": {},
            "locations": locations[row.uuid],
            "reference_count": uses.count(row.uuid),
            "sha512": row.sha512,
            "last_used": seconds(row.last_used),
            "instances": uses.instances(row.uuid),
            **_format(row),
        }
        for row in rows
    ]


def _format(row: Blob) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if row.format:
        shown["file format"] = row.format
    if row.virtual_size is not None:
        shown["virtual size"] = float(row.virtual_size)
    return shown


class ListInput(Page):
    """`node` is a node's name or uuid: only blobs that it holds."""

    node = Text()


class Blobs(SystemView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = Blob.objects.exclude(state=State.DELETED).order_by("created_at", "uuid")
        if "node" in wanted:
            rows = rows.filter(locations__node=find_node(wanted["node"]))
        return Response(blob_views(page(rows, wanted)))


class BlobDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(blob_views([find_blob(self.caller, ref)])[0])


class BlobChecksum(ApiView):
    """The hash, or null while it is not known."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str, algorithm: str) -> Response:
        if algorithm not in ALGORITHMS:
            raise Invalid(f"algorithm: must be one of {', '.join(ALGORITHMS)}")
        return Response(find_blob(self.caller, ref).sha512)


class BlobByChecksum(ApiView):
    """A blob that the caller may read, or null: the public client takes a 404 for a failure."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], checksum: str) -> Response:
        digest = checksum.lower()
        if len(digest) != 128 or set(digest) - set("0123456789abcdef"):
            raise Invalid("checksum: must be 128 hexadecimal digits")
        for row in Blob.objects.filter(sha512=digest, state=State.CREATED).order_by("created_at")[:20]:
            if may_read_blob(self.caller, row):
                return Response(blob_views([row])[0])
        return Response(None)


class Window(Input):
    offset = Number(max_value=MAX_OFFSET)
    limit = Number(max_value=MAX_OFFSET)


class BlobBytes(ApiView):
    """Bytes from `offset`, at most `limit` (0: all). What lies beyond the end is an empty 200, never an error."""

    @takes(Window)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> HttpResponseBase:
        blob = find_blob(self.caller, ref)
        if blob.state == State.INITIAL or blob.size is None:
            raise NotReady(f"blob {blob.uuid} is not there yet")
        offset = wanted.get("offset", 0)
        length = max(0, min(blob.size - offset, wanted.get("limit") or blob.size))
        if length == 0:
            return HttpResponse(b"", content_type="application/octet-stream")
        response = StreamingHttpResponse(_from_a_holder(blob, offset, length), content_type="application/octet-stream")
        response["Content-Length"] = str(length)
        return response


def _from_a_holder(blob: Blob, offset: int, length: int) -> Iterator[bytes]:
    """The first holder that sends a first byte; those that report come first, the others are not asked (RP-1, RP-2)."""
    holders = Node.objects.select_related("credential").filter(blob_locations__blob=blob, state=State.CREATED)
    for node in holders.order_by("-last_seen", "uuid"):
        try:
            return open_blob(node, blob.uuid, offset, length)
        except SteadyfistError:  # its own "not found" too: the rows say that it holds the blob
            continue
    raise Unavailable(f"no node that holds blob {blob.uuid} answers")

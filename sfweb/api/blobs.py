"""Blobs: immutable bytes, shown and streamed from a node that holds them."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import ApiView, Input, Nothing, Number, SystemView, Text, seconds, takes
from sfweb.api.filters import BlobFilter
from sfweb.api.lists import Filtered, listed, living
from sfweb.domain.blob_copies import FAILED, wanted_copies
from sfweb.domain.digests import LENGTHS, is_digest
from sfweb.domain.lookup import find_blob, find_node, readable_blobs
from sfweb.domain.metadata import metadata_of
from sfweb.errors import Invalid, NotReady, SteadyfistError, Unavailable
from sfweb.models import ArtifactVersion, Blob, BlobHash, BlobLocation, Disk, Node
from sfweb.models.state import State
from sfweb.node_bytes import open_blob

MAX_OFFSET = 2**63 - 1


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
    """As the client reads blobs, by six queries more for any number of them.

    `checksums` are those of verified copies; `copies` says on how many nodes the blob should be and is, and what is wrong.
    """
    uuids = [row.uuid for row in rows]
    copies = Copies(uuids)
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
            "checksums": copies.checksums[row.uuid],
            "copies": copies.view(row.uuid, len(locations[row.uuid]), used=uses.count(row.uuid) > 0),
            "error_message": row.error_message,
            "last_used": seconds(row.last_used),
            "instances": uses.instances(row.uuid),
            **_format(row),
        }
        for row in rows
    ]


def audited_views(rows: Sequence[Blob]) -> list[dict[str, Any]]:
    """With the versions made of each blob, "artifact/index", in the shape that the client's audit counts; one query more."""
    versions: dict[str, dict[str, Any]] = defaultdict(dict)
    living = ArtifactVersion.objects.filter(blob__in=[row.uuid for row in rows]).exclude(artifact__state=State.DELETED)
    for blob, artifact, index in living.order_by("artifact", "index").values_list("blob_id", "artifact_id", "index"):
        versions[str(blob)][f"{artifact}/{index}"] = {"uuid": str(blob)}
    return [view | {"blobs": versions[view["uuid"]]} for view in blob_views(rows)]


class Copies:
    """What is known of the copies of some blobs: two queries for any number of them."""

    def __init__(self, uuids: Sequence[uuid.UUID]) -> None:
        self._wanted = wanted_copies()
        self.checksums: dict[Any, dict[str, str]] = defaultdict(dict)
        self._failed: dict[Any, list[dict[str, str]]] = defaultdict(list)
        rows = BlobHash.objects.filter(blob__in=uuids).order_by("algorithm", "node__name")
        for blob, node, algorithm, value, status, error in rows.values_list(
            "blob_id", "node__name", "algorithm", "hash_value", "status", "error_message"
        ):
            if status != FAILED:
                self.checksums[blob].setdefault(algorithm, value)
            elif algorithm == "sha512":
                self._failed[blob].append({"node": node, "error": error})

    def view(self, blob: uuid.UUID, here: int, *, used: bool) -> dict[str, Any]:
        """What no version and no disk is made of, such as a file from a guest, is not copied."""
        return {"wanted": self._wanted if used else 1, "here": here, "failed": self._failed[blob]}


def _format(row: Blob) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if row.format:
        shown["file format"] = row.format
    if row.virtual_size is not None:
        shown["virtual size"] = float(row.virtual_size)
    return shown


class ListInput(Filtered):
    """`node` is a node's name or uuid: only blobs that it holds."""

    filters = BlobFilter
    node = Text(max_length=64)


class Blobs(SystemView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = living(Blob.objects.order_by("created_at", "uuid"), wanted)
        if "node" in wanted:
            rows = rows.filter(locations__node=find_node(wanted["node"]))
        return listed(request, rows, wanted, audited_views, BlobFilter)


class BlobDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(blob_views([find_blob(self.caller, ref)])[0])


class BlobChecksum(ApiView):
    """The hash, or null while it is not known."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str, algorithm: str) -> Response:
        _require_known(algorithm)
        blob = find_blob(self.caller, ref)
        known = BlobHash.objects.filter(blob=blob, algorithm=algorithm).exclude(status=FAILED)
        return Response(known.values_list("hash_value", flat=True).first())


class BlobByChecksum(ApiView):
    """A blob that the caller may read, or null: the public client takes a 404 for a failure."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], algorithm: str, checksum: str) -> Response:
        _require_known(algorithm)
        digest = checksum.lower()
        if not is_digest(digest, algorithm):
            raise Invalid(f"checksum: must be {LENGTHS[algorithm]} hexadecimal digits")
        rows = readable_blobs(self.caller).filter(hashes__algorithm=algorithm, hashes__hash_value=digest)
        row = rows.filter(state=State.CREATED).order_by("created_at").first()
        return Response(blob_views([row])[0] if row else None)


def _require_known(algorithm: str) -> None:
    if algorithm not in LENGTHS:
        raise Invalid(f"algorithm: must be one of {', '.join(LENGTHS)}")


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
        response = StreamingHttpResponse(from_a_holder(blob, offset, length), content_type="application/octet-stream")
        response["Content-Length"] = str(length)
        return response


def from_a_holder(blob: Blob, offset: int, length: int) -> Iterator[bytes]:
    """The first holder that sends a first byte; those that report come first, the others are not asked (RP-1, RP-2)."""
    holders = Node.objects.select_related("credential").filter(blob_locations__blob=blob, state=State.CREATED)
    for node in holders.order_by("-last_seen", "uuid"):
        try:
            return open_blob(node, blob.uuid, offset, length)
        except SteadyfistError:  # its own "not found" too: the rows say that it holds the blob
            continue
    raise Unavailable(f"no node that holds blob {blob.uuid} answers")

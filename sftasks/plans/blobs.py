"""A blob on a node: from its URL or its upload for the first one, from a peer for every other (EN-20)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce, Greatest

from nodeagent.specs import BlobSource, BlobSpec
from nodeagent.wire import dump
from sftasks import wishes
from sftasks.operation import Served, Wish
from sfweb.domain import blob_copies
from sfweb.domain.callers import Caller
from sfweb.models import Blob, BlobLocation, NodeObject, Operation, OperationDependency
from sfweb.models.state import OPEN_OPERATION, State


def on_node(blob: Blob, node: UUID, caller: Caller) -> Wish:
    """The operation that brings a copy of the blob to the node, or takes it away, as the wish says."""
    return Wish(
        kind="blob_on_node",
        object_key=f"blob:{blob.pk}@{node}",
        targets=[("blob", blob.pk), ("node", node)],
        params={"blob": str(blob.pk), "node": str(node)},
        caller=caller,
        namespace=caller.namespace_uuid,
    )


def first_fetch(blob: Blob, node: UUID, *, leads: bool = False) -> Operation | None:
    """The open operation by which another node gets the blob first, or None when it is there or nobody has begun.

    `leads`: only one that waits for no other itself.
    """
    if blob.state == State.CREATED:
        return None
    keys = [f"blob:{blob.pk}@{holder}" for holder in wishes.holders("blob", blob.pk) if holder != node]
    rows = Operation.objects.filter(kind="blob_on_node", state__in=OPEN_OPERATION, object_key__in=keys)
    if leads:
        rows = rows.exclude(Exists(OperationDependency.objects.filter(operation=OuterRef("pk"))))
    return rows.order_by("created_at").first()


def _generation(blob: UUID, node: UUID) -> int:
    row = NodeObject.objects.filter(node_id=node, object_type="blob", object_uuid=blob).first()
    return (row.generation or 1) if row else 1


def _advance(blob: UUID, node: UUID, above: int) -> None:
    NodeObject.objects.filter(node_id=node, object_type="blob", object_uuid=blob).update(
        generation=Greatest(Coalesce(F("generation"), 1), above) + 1
    )


def _present(blob: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = Blob.objects.select_related("upload", "archive").get(pk=blob)
    if row.state not in (State.INITIAL, State.CREATED):
        return None
    source, upload = _source(row, node)
    spec = BlobSpec(
        blob=str(blob),
        source=source,
        size=row.size,
        sha512=row.sha512,
        source_sha512=row.expected_sha512 if row.state == State.INITIAL else None,
        verbatim=row.verbatim,
        max_virtual_gb=settings.IMAGE_MAX_VIRTUAL_GIB,
    )
    renew = source.peer != str(node) and blob_copies.is_broken(blob, node)
    size = row.upload.size if row.upload is not None and upload else 0
    return {"spec": dump(spec), "upload": upload, "upload_size": size, "renew": renew}


def _source(blob: Blob, node: UUID) -> tuple[BlobSource, str | None]:
    """Where this node gets the bytes, and the upload of its own that they are in, if they are.

    Where nobody else has them it is asked to find them at itself: that is true, or fails with a reason.
    """
    if blob.upload is not None and blob.upload.node_id == node and blob.state == State.INITIAL:
        return BlobSource(peer=str(node)), str(blob.upload.pk)
    holders = BlobLocation.objects.filter(blob=blob, node__state=State.CREATED).exclude(node_id=node)
    peer = holders.order_by("?").values_list("node_id", flat=True).first()
    if peer:
        return BlobSource(peer=str(peer)), None
    if blob.archive is not None and blob.state == State.INITIAL:
        return _range_of(blob, blob.archive), None
    if blob.source_url.startswith(("http://", "https://")):
        return BlobSource(url=blob.source_url, checksums=blob.checksums_url), None
    return BlobSource(peer=str(node)), None


def _range_of(blob: Blob, archive: Blob) -> BlobSource:
    """A part of an archive, from any node that holds that: from the same node too, over its own byte server."""
    holders = BlobLocation.objects.filter(blob=archive, node__state=State.CREATED).order_by("?")
    peer = holders.values_list("node_id", flat=True).first()
    return BlobSource(peer=str(peer or archive.pk), archive=str(archive.pk), offset=blob.archive_offset or 0)


def _absent(blob: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"blob": str(blob)}


def _fresh(blob: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = Blob.objects.get(pk=blob)
    if row.state != State.CREATED:
        return None
    return {"blob": str(blob), "url": row.source_url, "validators": row.validators}


OBJECT = Served(
    type="blob",
    kind="blob_on_node",
    ensure="ensure_blob",
    remove="remove_blob",
    generation=_generation,
    newest=Coalesce(F("generation"), 1),
    advance=_advance,
    requests={"ensure_blob": _present, "remove_blob": _absent, "observe_image": _fresh},
)

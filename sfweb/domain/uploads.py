"""Bytes that are arriving: which node takes them, and how far they are. The bytes themselves pass by elsewhere."""

from django.conf import settings
from django.db import transaction

from sfweb.domain.callers import Caller
from sfweb.domain.limits import lock_within
from sfweb.domain.storage import roomiest_node
from sfweb.errors import Conflict, Invalid, NoCapacity
from sfweb.models import Namespace, Upload
from sfweb.models.fields import UtcNow
from sfweb.models.state import State


def begin_upload(caller: Caller) -> Upload:
    """An empty upload on the node with most free disk. NoCapacity when no node can take one, or the namespace has its fill."""
    with transaction.atomic():
        namespace = lock_within(Namespace.objects.get(name=caller.namespace).pk, uploads=1)
        return Upload.objects.create(namespace=namespace, node=roomiest_node())


def chunk_offset(upload: Upload, text: str | None) -> int:
    """Where a chunk goes: behind what has arrived, or where its sender says. Conflict, with the size, for a gap."""
    if text is None:
        return int(upload.size)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid("offset: must be a number of bytes")
    if int(text) > upload.size:
        raise Conflict(f"the upload has {upload.size} bytes", code="upload_gap", details={"size": upload.size})
    return int(text)


def check_room(offset: int, more: int) -> None:
    if offset + more > settings.UPLOAD_MAX_BYTES:
        raise NoCapacity(f"an upload has at most {settings.UPLOAD_MAX_BYTES} bytes", stage="upload")


def check_offset(upload: Upload, offset: str) -> int:
    """The number that `offset` spells, inside what has arrived."""
    if not offset.isascii() or not offset.isdigit() or len(offset) > 18 or int(offset) > upload.size:
        raise Invalid(f"offset: must be 0 to {upload.size}")
    return int(offset)


def moved(upload: Upload, size: int) -> int:
    """Write the new size, unless another request moved it meanwhile."""
    if not Upload.objects.filter(pk=upload.pk, size=upload.size, state=State.CREATED).update(
        size=size, touched_at=UtcNow()
    ):
        raise Conflict("another request is writing to this upload", code="upload_busy")
    return size

"""Bytes that are arriving: which node takes them, and how far they are. The bytes themselves pass by elsewhere."""

from django.conf import settings

from sfweb.domain.callers import Caller
from sfweb.domain.storage import roomiest_node
from sfweb.errors import Conflict, Invalid, NoCapacity
from sfweb.models import Namespace, Upload
from sfweb.models.state import State


def begin_upload(caller: Caller) -> Upload:
    """An empty upload on the node with most free disk. NoCapacity when no node can take one, or the namespace has its fill."""
    limit = settings.NAMESPACE_MAX_UPLOADS
    namespace = Namespace.objects.get(name=caller.namespace)
    open_ones = Upload.objects.filter(namespace=namespace, state=State.CREATED).count()
    if open_ones >= limit:
        raise NoCapacity(f"the namespace has {open_ones} uploads open, {limit} are allowed", stage="namespace")
    return Upload.objects.create(namespace=namespace, node=roomiest_node())


def check_room(upload: Upload, more: int) -> None:
    if upload.size + more > settings.UPLOAD_MAX_BYTES:
        raise NoCapacity(f"an upload has at most {settings.UPLOAD_MAX_BYTES} bytes", stage="upload")


def check_offset(upload: Upload, offset: str) -> int:
    """The number that `offset` spells, inside what has arrived."""
    if not offset.isascii() or not offset.isdigit() or len(offset) > 18 or int(offset) > upload.size:
        raise Invalid(f"offset: must be 0 to {upload.size}")
    return int(offset)


def moved(upload: Upload, size: int) -> int:
    """Write the new size, unless another request moved it meanwhile."""
    if not Upload.objects.filter(pk=upload.pk, size=upload.size, state=State.CREATED).update(size=size):
        raise Conflict("another request is writing to this upload", code="upload_busy")
    return size

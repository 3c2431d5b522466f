"""Takes away blobs that nothing is made of: no version, no disk, no operation that is still open, and not just made (BL-9).

Usually that happens with the last use; this finds what a use that never came about has left.
"""

from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from sftasks import attachment
from sfweb.domain import artifact_refs, pending
from sfweb.domain.transactions import durable
from sfweb.models import Blob
from sfweb.models.fields import FromNow
from sfweb.models.state import State

PAGE = 200


def run() -> dict[str, int]:
    return {"discarded": sum(_discard(pk) for pk in list(_unused().values_list("pk", flat=True)[:PAGE]))}


def _unused() -> QuerySet[Blob]:
    old = Blob.objects.filter(created_at__lt=FromNow(-settings.BLOB_UNUSED_SECONDS)).exclude(state=State.DELETED)
    return old.filter(~artifact_refs.is_used(), ~pending.pending_outer("blob")).order_by("created_at")


@durable
def _discard(identity: UUID) -> int:
    """Under its lock and once more looked at: a use takes that lock first (EN-7)."""
    blob = Blob.objects.select_for_update().get(pk=identity)
    if pending.is_pending("blob", identity):
        return 0
    return int(attachment.discard_blob(blob))

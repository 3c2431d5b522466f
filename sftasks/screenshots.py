"""Letting go of a picture of a screen: its row, and its bytes unless something else is made of them by now."""

from uuid import UUID

from sftasks import attachment
from sfweb.domain.transactions import durable
from sfweb.models import Blob, Screenshot


@durable
def drop(blob: UUID) -> bool:
    """False when it was gone already."""
    row = Blob.objects.filter(pk=blob).first()
    gone, _ = Screenshot.objects.filter(blob_id=blob).delete()
    return bool(gone and row is not None and attachment.discard_blob(row))

"""Ends uploads that nobody goes on with, and clears away what is left of ended ones on their node (SE-12).

A published upload has become its blob, or was refused; either way its file is nobody's any more once the blob's own work
has ended. A node that does not answer is asked again.
"""

import logging

from django.conf import settings
from django.db.models import Exists, OuterRef

from sfweb.domain import events
from sfweb.domain.transactions import durable
from sfweb.errors import StateConflict, SteadyfistError
from sfweb.models import Blob, Upload
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import State, transition
from sfweb.node_bytes import remove_upload

log = logging.getLogger(__name__)
PAGE = 100


def run() -> dict[str, int]:
    old = Upload.objects.filter(state=State.CREATED, touched_at__lt=FromNow(-settings.UPLOAD_EXPIRY_SECONDS))
    expired = sum(_expire(upload) for upload in list(old.order_by("touched_at")[:PAGE]))
    return {"expired": expired, "cleared": _clear(), "forgotten": _forget()}


@durable
def _expire(upload: Upload) -> int:
    row = Upload.objects.select_for_update().get(pk=upload.pk)
    if row.touched_at != upload.touched_at:
        return 0
    try:
        transition(row, State.DELETED)
    except StateConflict:  # published in this moment
        return 0
    events.record("audit", "upload expired", [("namespace", row.namespace_id)], extra={"upload": str(row.pk)})
    return 1


def _clear() -> int:
    """Ended uploads whose blob is not still to be made of them."""
    waiting = Blob.objects.filter(upload=OuterRef("pk"), state=State.INITIAL)
    rows = Upload.objects.filter(state=State.DELETED, cleared_at__isnull=True).exclude(Exists(waiting))
    rows = rows.filter(node__state__in=(State.CREATED, State.DELETED))  # one that is silent costs a long wait each time
    done = []
    for upload in rows.select_related("node__credential").order_by("touched_at")[:PAGE]:
        if upload.node.state != State.DELETED:
            try:
                remove_upload(upload.node, upload.pk)
            except SteadyfistError as error:
                log.info("an upload is cleared away later", extra={"upload": str(upload.pk), "error": str(error)})
                continue
        done.append(upload.pk)
    return Upload.objects.filter(pk__in=done).update(cleared_at=UtcNow())


def _forget() -> int:
    old = FromNow(-settings.CLEANER_DELAY_SECONDS)
    keys = list(Upload.objects.filter(cleared_at__lt=old).values_list("pk", flat=True)[:PAGE])
    Upload.objects.filter(pk__in=keys).delete()
    return len(keys)

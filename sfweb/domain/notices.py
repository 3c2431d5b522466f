"""Notices: written in the transaction in which something breaks, so that none is lost; a reconciler sends them.

Nothing here may make the failing transaction fail: a notice is two inserts, and none where no channel wants it.
"""

from typing import Any

from sfweb.domain.rows import insert
from sfweb.models import Delivery, Notice, NoticeChannel
from sfweb.models.fields import FromNow


def tell(kind: str, subject: str, sentence: str, **details: Any) -> None:
    """One notice to every channel that wants its kind; `subject` is `type:name` of what it is about."""
    wanting = NoticeChannel.objects.filter(enabled=True)
    channels = list(wanting.extra(where=["kinds = '' OR FIND_IN_SET(%s, kinds)"], params=[kind]))
    if not channels:
        return
    notice = Notice(kind=kind, subject=subject[:120], sentence=sentence[:4000], details=details)
    insert([notice])
    insert([Delivery(notice=notice, channel=channel) for channel in channels])


def told_lately(kind: str, subject: str, seconds: float) -> bool:
    rows = Notice.objects.filter(kind=kind, subject=subject, created_at__gt=FromNow(-seconds))
    return rows.exists()

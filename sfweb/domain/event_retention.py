"""How long events are kept, and how they go: always a page of known keys, never a search for what has no partner.

What refers to an event ages with it, by the event's own type and moment, and is deleted with it. What goes with
a hard-deleted object is only its references; an event goes when the last of them has (EV-10, EV-14). No statement examines
more rows than it was given keys, because one that did would hold up everybody who writes events (EV-11).
"""

import uuid
from collections.abc import Collection

from django.conf import settings
from django.db import connection

from sfweb import metrics
from sfweb.domain.transactions import durable
from sfweb.models import Event, EventObject, Node
from sfweb.models.fields import FromNow
from sfweb.models.state import State

PAGE = 250
"""Rows of one transaction. A larger one holds up writers for longer and prunes no faster (bench/events.py)."""


@durable
def prune_page(kind: str, seconds: float) -> int:
    """Delete at most a page of the oldest events of this type that are older than `seconds`; how many that were.

    What was told of a node's end stays for as long as one is missing, however long that takes (EV-18).
    """
    old = Event.objects.filter(type=kind, at__lt=FromNow(-seconds))
    missing = Node.objects.filter(state=State.MISSING, last_seen__isnull=False)
    since = missing.order_by("last_seen").values_list("last_seen", flat=True).first()
    if kind == "health" and since is not None:
        old = old.filter(at__lt=since)
    keys = list(old.order_by("at").values_list("pk", flat=True)[:PAGE])
    if keys:
        EventObject.objects.filter(event_uuid__in=keys).delete()
        Event.objects.filter(pk__in=keys).delete()
    return len(keys)


def kept_seconds(kind: str) -> float | None:
    """For how long events of this type are kept; None for ever (EV-9)."""
    seconds: float = settings.EVENT_KEEP_SECONDS[kind]
    return None if seconds < 0 else seconds


@durable
def forget_page(object_type: str, objects: Collection[uuid.UUID]) -> int:
    """Take a page of references to these objects, which are gone, off their events; how many that were."""
    mine = EventObject.objects.filter(object_type=object_type, object_uuid__in=objects)
    rows = dict(mine.values_list("pk", "event_uuid")[:PAGE])
    if not rows:
        return 0
    EventObject.objects.filter(pk__in=rows).delete()
    events = set(rows.values())
    orphans = events - set(EventObject.objects.filter(event_uuid__in=events).values_list("event_uuid", flat=True))
    Event.objects.filter(pk__in=orphans).delete()
    metrics.EVENTS_ORPHANED.inc(len(orphans))
    return len(rows)


def forget(object_type: str, objects: Collection[uuid.UUID], pages: int) -> bool:
    """Whether nothing refers to these objects any more, after so many pages at most; what is left is for the next time."""
    return any(forget_page(object_type, objects) < PAGE for _ in range(pages))


def estimated_rows() -> int:
    """How many events there are, as the server's statistics say: a count would read them all (EV-13)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'events'"
        )
        row = cursor.fetchone()
    return int(row[0] or 0) if row else 0

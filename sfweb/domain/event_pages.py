"""Reading events of one object: newest first, page by page, each page two index ranges."""

import uuid

from django.db.models import Q

from sfweb.errors import Invalid
from sfweb.models import Event, EventObject
from sfweb.models.event import EVENT_TYPES

MAX_PAGE = 1000


def events_of(
    object_type: str, object_uuid: uuid.UUID, *, kind: str | None, limit: int, before: uuid.UUID | None
) -> list[Event]:
    """At most `limit` events, those older than the event `before` when it is given. Raises Invalid for an unknown kind.

    Their moment is that of the object's own row, which they are ordered by: an event's rows are written one by one.
    """
    if kind is not None and kind not in EVENT_TYPES:
        raise Invalid(f"event_type: must be one of {', '.join(EVENT_TYPES)}")
    rows = EventObject.objects.filter(object_type=object_type, object_uuid=object_uuid)
    if before is not None:
        last = rows.filter(event_uuid=before).first()
        if last is None:
            raise Invalid("before: there is no such event of this object")
        rows = rows.filter(Q(at__lt=last.at) | Q(at=last.at, event_uuid__lt=before))
    if kind is not None:
        rows = rows.filter(event_type=kind)
    moments = dict(rows.order_by("-at", "-event_uuid").values_list("event_uuid", "at")[:limit])
    events = Event.objects.in_bulk(moments)
    for identity, event in events.items():
        event.at = moments[identity]
    return [events[identity] for identity in moments if identity in events]

"""Events of every kind of object that has some."""

import uuid
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import UUIDField

from sfweb.api.base import MAX_NUMBER, Input, Number, Text, takes
from sfweb.api.lists import keyset_page
from sfweb.api.metadata import OWNERS, MetadataView, Owner
from sfweb.domain import schedules
from sfweb.domain.event_pages import MAX_PAGE, events_of
from sfweb.domain.lookup import find_operation
from sfweb.models import Event

DEFAULT_PAGE = 100


class EventsInput(Input):
    """`before` is the uuid of an event: the page that follows it, going back in time.

    A limit of nothing or less is the usual one, and a large one is cut: the public interface never refused them (EV-7).
    """

    event_type = Text(max_length=16)
    limit = Number(min_value=-MAX_NUMBER)
    before = UUIDField(required=False)


def event_view(event: Event) -> dict[str, Any]:
    return {
        "uuid": str(event.uuid),
        "event_uuid": str(event.uuid),
        "event_type": event.type,
        "timestamp": event.at.timestamp(),
        "fqdn": event.node,
        "duration": event.duration,
        "message": event.message,
        "type": event.type,
        "extra": event.extra,
        "request_id": event.request_id,
    }


EVENT_OWNERS = {
    plural: OWNERS[plural] for plural in ("artifacts", "blobs", "instances", "networks", "nodes", "auth/namespaces")
} | {
    "operations": Owner("operation", find_operation, find_operation),
    "recurring_operations": Owner("schedule", schedules.find, schedules.find),
}


class Events(MetadataView):
    """Newest first; a full page names the next in its Link header."""

    @property
    def owner(self) -> Owner:
        return EVENT_OWNERS[self.plural]

    @takes(EventsInput)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        found = self.owner.read(self.caller, ref)
        asked = wanted.get("limit", DEFAULT_PAGE)
        limit = min(asked, MAX_PAGE) if asked > 0 else DEFAULT_PAGE
        before: uuid.UUID | None = wanted.get("before")
        events = events_of(
            self.owner.object_type, found.uuid, kind=wanted.get("event_type"), limit=limit, before=before
        )
        views = [event_view(event) for event in events]
        return keyset_page(request, events, views, {**wanted, "limit": limit}, limit)

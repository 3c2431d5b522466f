"""Writing events: what happened, told to every object that it concerns, in the transaction that made it happen."""

import socket
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sfweb.models import Event, EventObject

Target = tuple[str, uuid.UUID]
HERE = socket.gethostname()


def record(
    kind: str,
    message: str,
    targets: Iterable[Target],
    *,
    extra: Mapping[str, Any] | None = None,
    request_id: str = "",
    node: str = "",
) -> None:
    """One event on all `targets`. Nothing secret may be in `message` or `extra` (SE-16)."""
    identity = uuid.uuid4()
    Event.objects.bulk_create(
        [
            Event(
                uuid=identity,
                type=kind,
                message=message,
                extra=dict(extra) if extra is not None else None,
                request_id=request_id,
                node=node or HERE,
            )
        ]
    )
    EventObject.objects.bulk_create(
        [
            EventObject(object_type=object_type, object_uuid=object_uuid, event_uuid=identity, event_type=kind)
            for object_type, object_uuid in dict.fromkeys(targets)
        ]
    )

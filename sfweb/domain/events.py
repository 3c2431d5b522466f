"""Writing events: what happened, told to every object that it concerns, in the transaction that made it happen."""

import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from sfweb.domain.rows import insert
from sfweb.metrics import EVENTS_INSERTED
from sfweb.models import Event, EventObject, Operation, OperationTarget
from sfweb.models.fields import FromNow

Target = tuple[str, uuid.UUID]
HERE = socket.gethostname()


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an event comes from when not from this process: the node, the node's uuid for it, its age in seconds."""

    node: str
    identity: uuid.UUID = field(default_factory=uuid.uuid4)
    age: float = 0.0


def record(
    kind: str,
    message: str,
    targets: Iterable[Target],
    *,
    extra: Mapping[str, Any] | None = None,
    request_id: str = "",
    origin: Origin | None = None,
) -> None:
    """One event on all `targets`. Nothing secret may be in `message` or `extra` (SE-16)."""
    origin = origin or Origin(node=HERE)
    moment = {"at": FromNow(-origin.age)} if origin.age else {}
    insert(
        [
            Event(
                uuid=origin.identity,
                type=kind,
                message=message,
                extra=dict(extra) if extra is not None else None,
                request_id=request_id,
                node=origin.node,
                **moment,
            )
        ]
    )
    insert(
        [
            EventObject(
                object_type=object_type, object_uuid=object_uuid, event_uuid=origin.identity, event_type=kind, **moment
            )
            for object_type, object_uuid in dict.fromkeys(targets)
        ]
    )
    transaction.on_commit(EVENTS_INSERTED.labels(kind).inc)


def record_on(
    operation: Operation,
    kind: str,
    message: str,
    *,
    targets: Iterable[Target] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """One event on an operation and on all that it is about; `targets` where the caller knows those already."""
    if targets is None:
        targets = OperationTarget.objects.filter(operation=operation).values_list("target_type", "target_uuid")
    record(kind, message, [("operation", operation.pk), *targets], extra=extra, request_id=operation.request_id)

"""Writing events: what happened, told to every object that it concerns, in the transaction that made it happen."""

import socket
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event on all `targets`. Nothing secret may be in `message` or `extra` (SE-16)."""

    kind: str
    message: str
    targets: Iterable[Target]
    extra: Mapping[str, Any] | None = None
    request_id: str = ""
    origin: Origin = field(default_factory=lambda: Origin(node=HERE))

    @property
    def moment(self) -> dict[str, Any]:
        return {"at": FromNow(-self.origin.age)} if self.origin.age else {}

    def row(self) -> Event:
        return Event(
            uuid=self.origin.identity,
            type=self.kind,
            message=self.message,
            extra=dict(self.extra) if self.extra is not None else None,
            request_id=self.request_id,
            node=self.origin.node,
            **self.moment,
        )

    def references(self) -> list[EventObject]:
        identity, moment = self.origin.identity, self.moment
        return [
            EventObject(object_type=kind, object_uuid=uuid, event_uuid=identity, event_type=self.kind, **moment)
            for kind, uuid in dict.fromkeys(self.targets)
        ]


def record(
    kind: str, message: str, targets: Iterable[Target], *, extra: Mapping[str, Any] | None = None, request_id: str = ""
) -> None:
    """One event that this process notices; as `Entry` says."""
    record_all([Entry(kind=kind, message=message, targets=targets, extra=extra, request_id=request_id)])


def record_all(entries: Sequence[Entry]) -> None:
    """All of them by two statements."""
    insert([entry.row() for entry in entries])
    insert([reference for entry in entries for reference in entry.references()])
    for kind, number in Counter(entry.kind for entry in entries).items():
        transaction.on_commit(partial(EVENTS_INSERTED.labels(kind).inc, number))


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

"""Writing events: what happened, told to every object that it concerns, in the transaction that made it happen."""

import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from django.db import connection, transaction

from sfweb.domain.transactions import together
from sfweb.metrics import EVENTS_INSERTED
from sfweb.models import Operation, OperationTarget

Target = tuple[str, uuid.UUID]
HERE = socket.gethostname()
_AT = "UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND"
_INTO_EVENTS = "INSERT INTO events (uuid, type, at, node, message, extra, request_id, trace_id) VALUES "
_EVENT = f"(%s, %s, {_AT}, %s, %s, %s, %s, '')"
_INTO_OBJECTS = "INSERT INTO event_objects (object_type, object_uuid, event_uuid, event_type, at) VALUES "
_OBJECT = f"(%s, %s, %s, %s, {_AT})"


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


def record(
    kind: str, message: str, targets: Iterable[Target], *, extra: Mapping[str, Any] | None = None, request_id: str = ""
) -> None:
    """One event that this process notices; as `Entry` says."""
    record_all([Entry(kind=kind, message=message, targets=targets, extra=extra, request_id=request_id)])


def record_all(entries: Sequence[Entry]) -> None:
    """All of them, with whatever else the transaction around tells."""
    if entries:
        together(_insert, [_line(entry) for entry in entries])


class _Line(NamedTuple):
    """An event as its columns, and when this process noticed it, by its own clock."""

    identity: str
    kind: str
    age: float
    node: str
    message: str
    extra: str | None
    request_id: str
    targets: list[Target]
    noticed: float

    def microseconds(self, now: float) -> int:
        return int((self.age + now - self.noticed) * 1_000_000)


def _line(entry: Entry) -> _Line:
    return _Line(
        str(entry.origin.identity),
        entry.kind,
        entry.origin.age,
        entry.origin.node,
        entry.message,
        json.dumps(entry.extra) if entry.extra is not None else None,
        entry.request_id,
        list(dict.fromkeys(entry.targets)),
        time.monotonic(),
    )


def _insert(lines: Sequence[_Line]) -> None:
    """By two statements, written out: what happens is told in every transaction, and models cost more than SQL."""
    told: list[Any] = []
    named: list[Any] = []
    now = time.monotonic()
    for line in lines:
        age = line.microseconds(now)
        told += (line.identity, line.kind, age, line.node, line.message, line.extra, line.request_id)
        for object_type, object_uuid in line.targets:
            named += (object_type, str(object_uuid), line.identity, line.kind, age)
    with connection.cursor() as cursor:
        cursor.execute(_INTO_EVENTS + ", ".join([_EVENT] * len(lines)), told)
        if named:
            cursor.execute(_INTO_OBJECTS + ", ".join([_OBJECT] * (len(named) // 5)), named)
    for kind, number in Counter(line.kind for line in lines).items():
        transaction.on_commit(partial(EVENTS_INSERTED.labels(kind).inc, number))


def targets_of(operation: Operation) -> list[Target]:
    return list(OperationTarget.objects.filter(operation=operation).values_list("target_type", "target_uuid"))


def record_on(operation: Operation, kind: str, message: str, *, extra: Mapping[str, Any] | None = None) -> None:
    """One event on an operation and on all that it is about."""
    targets = targets_of(operation)
    record(kind, message, [("operation", operation.pk), *targets], extra=extra, request_id=operation.request_id)

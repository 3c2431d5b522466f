"""The states of every object and the only way from one to another.

`transition` is one conditional UPDATE: it changes exactly one row that is in a state from which the table allows the
step, or raises StateConflict. Nothing else writes a state column after the insert.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, models
from django.db.models import F

from sfweb.errors import StateConflict
from sfweb.models.fields import FromNow, UtcNow


class State(enum.StrEnum):
    INITIAL = "initial"
    PREFLIGHT = "preflight"
    CREATING = "creating"
    CREATED = "created"
    MISSING = "missing"
    PAUSED = "paused"
    DELETE_WAIT = "delete-wait"
    DELETED = "deleted"
    ERROR = "error"


class OperationState(enum.StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    UNWINDING = "unwinding"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AgentOperationState(enum.StrEnum):
    QUEUED = "queued"
    EXECUTING = "executing"
    COMPLETE = "complete"
    ERROR = "error"
    EXPIRED = "expired"
    DELETED = "deleted"


class StepState(enum.StrEnum):
    PLANNED = "planned"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    OBSOLETE = "obsolete"
    UNDONE = "undone"


class TickState(enum.StrEnum):
    STARTED = "started"
    SKIPPED = "skipped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ReservationState(enum.StrEnum):
    CLAIMED = "claimed"
    CONSUMED = "consumed"
    RELEASED = "released"
    EXPIRED = "expired"


class DeliveryState(enum.StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


_LIFE = {
    State.INITIAL: {State.CREATED, State.ERROR, State.DELETED, State.DELETE_WAIT},
    State.CREATED: {State.DELETE_WAIT, State.DELETED, State.ERROR},
    State.DELETE_WAIT: {State.DELETED, State.ERROR},
    State.ERROR: {State.DELETE_WAIT, State.DELETED},
}

TRANSITIONS: dict[str, dict[str, set[Any]]] = {
    "Instance": {
        State.INITIAL: {State.CREATING, State.ERROR, State.DELETE_WAIT, State.DELETED},
        State.CREATING: {State.CREATED, State.ERROR, State.DELETE_WAIT, State.DELETED},
        State.CREATED: {State.DELETE_WAIT, State.DELETED, State.ERROR},
        State.DELETE_WAIT: {State.DELETED, State.ERROR},
        State.ERROR: {State.CREATED, State.DELETE_WAIT, State.DELETED},
    },
    "Network": {**_LIFE, State.DELETE_WAIT: {State.DELETED, State.ERROR, State.CREATED}},
    "Interface": {**_LIFE, State.DELETE_WAIT: {State.DELETED, State.ERROR, State.CREATED}},
    "Disk": {
        State.INITIAL: {State.CREATED, State.DELETE_WAIT},
        State.CREATED: {State.DELETE_WAIT},
        State.DELETE_WAIT: {State.CREATED},
    },
    "Artifact": {**_LIFE, State.ERROR: {State.CREATED, State.DELETE_WAIT, State.DELETED}},
    "Blob": {
        State.INITIAL: {State.CREATED, State.ERROR, State.DELETED},
        State.CREATED: {State.ERROR, State.DELETED},
        State.ERROR: {State.DELETED, State.INITIAL},
    },
    "SnapshotSet": {
        State.INITIAL: {State.CREATED, State.ERROR, State.DELETED},
        State.CREATED: {State.DELETED},
        State.ERROR: {State.DELETED},
    },
    "Schedule": {
        State.CREATED: {State.PAUSED, State.ERROR, State.DELETED},
        State.PAUSED: {State.CREATED, State.DELETED},
        State.ERROR: {State.CREATED, State.PAUSED, State.DELETED},
    },
    "Tick": {TickState.STARTED: {TickState.SUCCEEDED, TickState.FAILED, TickState.CANCELLED}},
    "Upload": {State.CREATED: {State.DELETED}},
    "Namespace": {State.CREATED: {State.DELETED}},
    "Key": {State.CREATED: {State.DELETED}},
    "NamespaceClaim": {State.CREATED: {State.DELETED}},
    "Node": {
        State.INITIAL: {State.CREATED, State.DELETED, State.MISSING},
        State.CREATED: {State.MISSING, State.ERROR, State.DELETED},
        State.MISSING: {State.CREATED, State.ERROR, State.DELETED},
        State.ERROR: {State.CREATED, State.MISSING, State.DELETED},
        State.DELETED: {State.MISSING},
    },
    "Operation": {
        OperationState.WAITING: {OperationState.RUNNING, OperationState.CANCELLED, OperationState.FAILED},
        OperationState.RUNNING: {
            OperationState.WAITING,
            OperationState.UNWINDING,
            OperationState.SUCCEEDED,
            OperationState.FAILED,
            OperationState.CANCELLED,
        },
        OperationState.UNWINDING: {OperationState.FAILED, OperationState.CANCELLED},
    },
    "Step": {
        StepState.PLANNED: {StepState.SENT, StepState.OBSOLETE, StepState.FAILED, StepState.UNDONE, StepState.DONE},
        StepState.SENT: {StepState.DONE, StepState.FAILED, StepState.OBSOLETE, StepState.PLANNED, StepState.UNDONE},
        StepState.DONE: {StepState.UNDONE},
        StepState.FAILED: {StepState.UNDONE},
    },
    "AgentOperation": {
        AgentOperationState.QUEUED: {
            AgentOperationState.COMPLETE,
            AgentOperationState.ERROR,
            AgentOperationState.EXPIRED,
            AgentOperationState.DELETED,
        },
        AgentOperationState.COMPLETE: {AgentOperationState.DELETED},
        AgentOperationState.ERROR: {AgentOperationState.DELETED},
        AgentOperationState.EXPIRED: {AgentOperationState.DELETED},
    },
    "PlacementReservation": {
        ReservationState.CLAIMED: {ReservationState.CONSUMED, ReservationState.RELEASED, ReservationState.EXPIRED},
        ReservationState.CONSUMED: {ReservationState.RELEASED},
        ReservationState.RELEASED: {ReservationState.CONSUMED},
        ReservationState.EXPIRED: {ReservationState.CONSUMED, ReservationState.RELEASED},
    },
}

ACTIVE = (State.INITIAL, State.PREFLIGHT, State.CREATING, State.CREATED)
"""States of an object that is there or will be, for gates: neither broken nor going."""

OPEN_OPERATION = (OperationState.WAITING, OperationState.RUNNING, OperationState.UNWINDING)
OPEN_STEP = (StepState.PLANNED, StepState.SENT)
LIVE_RESERVATION = (ReservationState.CLAIMED, ReservationState.CONSUMED)
"""These count on their node."""


def origins(model: str, to: str) -> list[str]:
    """The states from which `model` may go to `to`."""
    return [str(state) for state, targets in TRANSITIONS[model].items() if to in targets]


def transition(row: models.Model, to: str, **columns: Any) -> None:
    """Move one row to state `to` and set `columns` with it. Raises StateConflict when no allowed row was there to change.

    `columns` may hold moments of the database's clock and other columns (`F`); such attributes of `row` keep their old
    value until it is read again.
    """
    name = type(row).__name__
    changed = _update(row, origins(name, to), {"state": str(to), **columns})
    if changed != 1:
        raise StateConflict(f"{name.lower()} {row.pk} cannot become {to}")
    row.state = str(to)  # type: ignore[attr-defined]
    for column, value in columns.items():
        if not hasattr(value, "resolve_expression"):
            setattr(row, column, value)


def _update(row: models.Model, states: Sequence[str], columns: Mapping[str, Any]) -> int:
    """How many rows changed, 0 or 1. Written out: Django needs longer to write this statement than MariaDB to run it."""
    if not states:
        return 0
    meta = row._meta
    assigned, values = [], []
    for name, value in columns.items():
        field = meta.get_field(name)
        if isinstance(value, F):
            text = connection.ops.quote_name(meta.get_field(value.name).column)
        elif isinstance(value, UtcNow | FromNow):
            text = value.template
        else:
            text = "%s"
            values.append(field.get_db_prep_save(value, connection))
        assigned.append(f"{connection.ops.quote_name(field.column)} = {text}")
    values += [meta.pk.get_db_prep_save(row.pk, connection), list(states)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {meta.db_table} SET {', '.join(assigned)} WHERE {meta.pk.column} = %s AND state IN %s",
            values,
        )
        return int(cursor.rowcount)

"""The statements on every step's way, written out: Django needs longer to write one than MariaDB to run it. Part of the engine.

Each reads or writes exactly what its name says; what they answer is as true as the transaction they run in.
"""

import datetime
from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection

from sfweb.domain.node_rows import with_credentials
from sfweb.domain.rows import select, select_with
from sfweb.domain.transactions import is_duplicate
from sfweb.models import Node, Operation, Step
from sfweb.models.state import OPEN_STEP, OperationState, State

FOR_UPDATE = " FOR UPDATE"
_OF_A_DOOR = ("uuid", "name", "state", "last_seen", "actions")
_SENT = "(SELECT COUNT(*) FROM steps WHERE node_id = nodes.uuid AND state = 'sent' AND bulk = "
_BESIDE_A_DOOR = (
    ("heard", "COALESCE(nodes.last_seen > UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND, 0)"),
    ("sent_quick", _SENT + "0)"),
    ("sent_bulk", _SENT + "1)"),
)
_OPEN = ", ".join(f"'{state}'" for state in OPEN_STEP)


class Spent(NamedTuple):
    """What an operation took. Seconds; `wait_seconds` until it began, or ended without. Attempts and steps of all stages."""

    seconds: float
    wait_seconds: float
    steps: int
    deliveries: int
    deferrals: int
    folded: int


class Need(NamedTuple):
    """An operation that another waits for: how it waits, and how the needed one stands.

    object_key  `type:uuid@node` for one that serves a shared object on a node
    """

    how: str
    state: str
    kind: str
    object_key: str
    error_code: str
    error_message: str


class Standing(NamedTuple):
    """Of a node that has reported: its state, whether a step is open there, whether it holds the lease of a network, whether
    another node could take that over, and whether it is to look at itself: somebody asked, or an object was missed once
    and a second look decides.
    """

    state: str
    is_busy: bool
    carries: bool
    has_rivals: bool
    is_asked: bool


class Door(NamedTuple):
    """A node as one statement found it. `sent`: how many steps are in flight to its two queues, by `bulk` (EN-10)."""

    node: Node
    silent: bool
    sent: dict[bool, int]


class Queue(NamedTuple):
    """A node's open steps of one kind of worker. `sent`: how many are in flight, by lane; `planned`: lanes that have more."""

    sent: dict[UUID, int]
    planned: list[UUID]


class Due(NamedTuple):
    """A planned step that can be sent, and what says when it is its turn."""

    step: UUID
    lane: UUID
    priority: int
    asked_at: datetime.datetime

    def order(self) -> tuple[int, datetime.datetime]:
        return self.priority, self.asked_at


def lock_operations_of(tokens: Collection[str], node: UUID) -> dict[UUID, tuple[Operation, list[Step]]]:
    """The operations of the node's steps with these tokens, locked, each with its open steps; of a running one those of its
    stage and the next.
    """
    theirs = (
        "LEFT JOIN steps ON steps.operation_id = operations.uuid"
        f" AND steps.state IN ({_OPEN})"
        " AND (operations.state <> 'running' OR steps.stage BETWEEN operations.stage AND operations.stage + 1)"
        " WHERE operations.uuid IN (SELECT operation_id FROM steps named WHERE named.token IN %s AND named.node_id = %s)"
    )
    rows = select_with(Operation, Step, theirs + FOR_UPDATE, [list(tokens), str(node)])
    return {operation.pk: (operation, steps) for operation, steps in rows}


def lock_operation(operation: UUID) -> Operation | None:
    return next(iter(select(Operation, f"WHERE uuid = %s{FOR_UPDATE}", [str(operation)])), None)


def lock_waiting(queued_key: str) -> Operation | None:
    """The one operation with this key, which waits still (EN-7), locked."""
    return next(iter(select(Operation, f"WHERE queued_key = %s AND state = 'waiting'{FOR_UPDATE}", [queued_key])), None)


def start_operation(operation: Operation, running_key: str | None) -> bool:
    """From waiting to running, if its time has come and no other runs with that key. Under the operation's lock."""
    sql = (
        "UPDATE operations SET state = 'running', running_key = %s, queued_key = NULL, started_at = UTC_TIMESTAMP(6)"
        " WHERE uuid = %s AND state = 'waiting' AND (not_before IS NULL OR not_before <= UTC_TIMESTAMP(6))"
    )
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql, [running_key, str(operation.pk)])
        except IntegrityError as error:
            if is_duplicate(error):  # MariaDB undoes only this statement
                return False
            raise
        started = bool(cursor.rowcount == 1)
    if started:
        operation.state, operation.running_key, operation.queued_key = OperationState.RUNNING, running_key, None
    return started


def needs_of(operation: UUID) -> list[Need]:
    """What an operation waits for, or has waited for, by age: of two that failed, the first tells why."""
    sql = (
        "SELECT edge.kind, needed.state, needed.kind, needed.object_key, needed.error_code, needed.error_message"
        " FROM operation_dependencies edge JOIN operations needed ON needed.uuid = edge.needs_id WHERE edge.operation_id = %s"
        " ORDER BY needed.created_at, needed.uuid"
    )
    return [Need(*row) for row in _rows(sql, [str(operation)])]


def has_elder(operation: Operation) -> bool:
    """True when an older operation on the same object still waits for its turn or for a dependency (EN-6)."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM operations elder JOIN operations mine ON mine.uuid = %s"
        " WHERE elder.object_key = mine.object_key AND elder.state = 'waiting' AND elder.created_at < mine.created_at)"
    )
    return bool(_rows(sql, [str(operation.pk)])[0][0])


def rested_at(object_key: str, starts: int, seconds: float, rest: float) -> datetime.datetime | None:
    """`rest` seconds after the object's last operation began, if it has begun `starts` of them in `seconds`; else None."""
    sql = (
        "SELECT MAX(started_at) + INTERVAL %s MICROSECOND FROM operations WHERE object_key = %s"
        " AND started_at > UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND HAVING COUNT(*) >= %s"
    )
    found = _rows(sql, [int(rest * 1_000_000), object_key, int(seconds * 1_000_000), starts])
    return found[0][0].replace(tzinfo=datetime.UTC) if found else None


def spent(operation: Operation) -> Spent:
    """Of an operation that has ended in this transaction."""
    sql = (
        "SELECT TIMESTAMPDIFF(MICROSECOND, COALESCE(o.started_at, o.finished_at), o.finished_at) / 1e6,"
        " TIMESTAMPDIFF(MICROSECOND, o.created_at, COALESCE(o.started_at, o.finished_at)) / 1e6, COUNT(s.uuid),"
        " COALESCE(SUM(s.attempt), 0), COALESCE(SUM(GREATEST(s.attempt, 1) - 1), 0), o.joined"
        " FROM operations o LEFT JOIN steps s ON s.operation_id = o.uuid WHERE o.uuid = %s GROUP BY o.uuid"
    )
    seconds, waited, *counts = _rows(sql, [str(operation.pk)])[0]
    return Spent(float(seconds), float(waited), *map(int, counts))


def enter_next_stage(operation: Operation) -> bool:
    """Move on to the next stage, with the progress that this makes; False when there is none. Under the operation's lock."""
    sql = (
        f"UPDATE operations JOIN (SELECT COUNT(*) AS steps, SUM(state NOT IN ({_OPEN})) AS ended, MAX(stage) AS last"
        " FROM steps WHERE operation_id = %s AND purpose = 'do') way ON way.last > operations.stage"
        " SET operations.stage = operations.stage + 1, operations.progress = 100 * way.ended DIV way.steps WHERE uuid = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [str(operation.pk), str(operation.pk)])
        moved = bool(cursor.rowcount == 1)
    if moved:
        operation.stage += 1
        operation.__dict__.pop("progress", None)  # read when it is asked for
    return moved


def woken_by(operation: Operation) -> list[UUID]:
    """What may start when the operation has ended: the next on its object by priority and age, then all that waited for it."""
    sql = (
        "SELECT uuid FROM (SELECT uuid, 0 AS later, priority, created_at FROM operations"
        " WHERE object_key = %s AND state = 'waiting' UNION ALL SELECT waiting.uuid, 1, 0, NULL"
        " FROM operation_dependencies edge JOIN operations waiting ON waiting.uuid = edge.operation_id"
        " WHERE edge.needs_id = %s AND waiting.state = 'waiting') woken ORDER BY later, priority, created_at"
    )
    return [UUID(str(row)) for (row,) in _rows(sql, [operation.object_key, str(operation.pk)])]


def behind(object_type: str, object_uuid: UUID, generation: int, among: Collection[UUID]) -> list[UUID]:
    """Of the holders of the object `among` these, those that have not confirmed it at `generation` or later, in order."""
    if not among:
        return []
    sql = (
        "SELECT node_id FROM node_objects WHERE node_id IN %s AND object_type = %s AND object_uuid = %s"
        " AND wanted = 'present' AND (applied_wanted IS NULL OR applied_wanted <> 'present' OR applied_generation < %s)"
        " ORDER BY node_id"
    )
    rows = _rows(sql, [[str(node) for node in among], object_type, str(object_uuid), generation])
    return [UUID(str(node)) for (node,) in rows]


def doors(nodes: Collection[UUID]) -> dict[UUID, Door]:
    """What must be known of nodes before anything is sent to them."""
    if not nodes:
        return {}
    silence = int(settings.NODE_SILENT_SECONDS * 1_000_000)
    return {
        row.pk: Door(row, not row.heard, {False: row.sent_quick, True: row.sent_bulk})
        for row in with_credentials(nodes, _OF_A_DOOR, _BESIDE_A_DOOR, [silence])
    }


def standing(node: UUID) -> Standing:
    sql = (
        "SELECT state,"
        f" EXISTS (SELECT 1 FROM steps WHERE node_id = nodes.uuid AND state IN ({_OPEN})),"
        " EXISTS (SELECT 1 FROM carrier_leases WHERE node_id = nodes.uuid),"
        " EXISTS (SELECT 1 FROM nodes other WHERE other.uuid <> nodes.uuid AND other.carrier_eligible"
        f" AND other.state = '{State.CREATED}'), inventory_wanted"
        " OR EXISTS (SELECT 1 FROM node_objects WHERE node_id = nodes.uuid AND absences > 0)"
        " FROM nodes WHERE uuid = %s"
    )
    state, *facts = _rows(sql, [str(node)])[0]
    return Standing(state, *map(bool, facts))


def generation(table: str, column: str, row: UUID) -> int:
    """The generation of an object; 0 for one whose row is gone, of which only the end can be asked."""
    found = _rows(f"SELECT {column} FROM {table} WHERE uuid = %s", [str(row)])
    return int(found[0][0]) if found else 0


def queues(node: UUID) -> dict[bool, Queue]:
    """The node's open steps, by `bulk`; nothing where none is open. Of planned ones, entries of the index are read, no rows."""
    sql = (
        "SELECT bulk, lane, COUNT(*) FROM steps WHERE node_id = %s AND state = 'sent' GROUP BY bulk, lane"
        " UNION ALL SELECT DISTINCT bulk, lane, 0 FROM steps WHERE node_id = %s AND state = 'planned'"
    )
    found: dict[bool, Queue] = {}
    for bulk, lane, count in _rows(sql, [str(node), str(node)]):
        queue = found.setdefault(bool(bulk), Queue({}, []))
        if count:
            queue.sent[UUID(str(lane))] = count
        else:
            queue.planned.append(UUID(str(lane)))
    return found


def due_steps(node: UUID, bulk: bool, lanes: Collection[UUID], most: int) -> list[Due]:
    """The node's planned steps whose turn it is by state, stage and time; by priority, then age.

    At most `most` of each of the `lanes`. Each lane is read in its order from the index until it has given so many.
    """
    one = (
        "(SELECT STRAIGHT_JOIN steps.uuid, steps.lane, steps.priority, steps.asked_at"
        " FROM steps JOIN operations ON operations.uuid = steps.operation_id"
        " WHERE steps.node_id = %s AND steps.bulk = %s AND steps.state = 'planned' AND steps.lane = %s"
        " AND (operations.state = 'running' AND steps.purpose = 'do' AND steps.stage = operations.stage"
        " OR operations.state = 'unwinding' AND steps.purpose = 'undo')"
        " AND (steps.not_before IS NULL OR steps.not_before <= UTC_TIMESTAMP(6))"
        " ORDER BY steps.priority, steps.asked_at LIMIT %s)"
    )
    sql = " UNION ALL ".join([one] * len(lanes)) + " ORDER BY priority, asked_at"
    values = [value for lane in lanes for value in (str(node), bulk, str(lane), most)]
    return [
        Due(UUID(str(step)), UUID(str(lane)), priority, asked_at.replace(tzinfo=datetime.UTC))
        for step, lane, priority, asked_at in _rows(sql, values)
    ]


def _rows(sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())

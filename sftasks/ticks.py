"""One tick of a schedule: the moment at which it is due becomes one ordinary operation, or a row that says why not.

Whoever moves `next_tick` from this due time to the following one has the tick, and moves it in the transaction that
submits the operation and writes the tick (RO-5): a process that dies before its commit has done nothing, and two that try
at once are told apart by the database. What a tick came to is settled later, from the rows of its operation.
"""

import datetime
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.db.models import QuerySet
from django.db.models.expressions import Combinable

from sftasks import engine
from sftasks.operation import Accepted
from sftasks.operations import guest_execute, instance_snapshot
from sftasks.passes import one_of_many
from sfweb.domain import agent_operations, schedules, snapshots
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.rows import insert
from sfweb.domain.transactions import durable, is_duplicate
from sfweb.errors import Conflict, LimitReached, NotFound, NotReady, SteadyfistError
from sfweb.models import DependencyKind, Operation, Overlap, Schedule, ScheduleKind, Tick
from sfweb.models.fields import FromNow, UtcNow, database_now
from sfweb.models.state import (
    OPEN_OPERATION,
    AgentOperationState,
    OperationState,
    State,
    TickState,
    transition,
)

log = logging.getLogger(__name__)
PASSING = ("agent.not_ready", "instance.changing")
"""Codes of refusals that are nobody's failure: the tick is skipped (RO-10)."""
IN_FLIGHT = "the operation of an earlier tick has not ended"
POSTPONED_SECONDS = 5.0
"""After a refusal for want of room in the namespace's queue; the tick stays due."""


OF_THE_SCHEDULE = ("name", "state", "kind", "arguments", "overlap", "consecutive_failures")
OF_OTHERS = ("namespace__name", "namespace__state", "instance__name", "instance__state", "instance__namespace")
"""Columns that a tick needs."""


class Had(Exception):
    """The schedule had this tick before: a clock was put back."""


class Due(NamedTuple):
    """A tick that is to be had: the schedule's due time, and the one after it that is not over yet."""

    schedule: UUID
    due: datetime.datetime
    following: datetime.datetime


class Claimed(NamedTuple):
    """A tick that this transaction has: for whom, and the operations of earlier ones that have not ended."""

    row: Schedule
    due: datetime.datetime
    caller: Caller
    held: list[Operation]


def _snapshot(claimed: Sequence[Claimed]) -> list[Operation]:
    wanted = [
        instance_snapshot.Asked(
            caller=one.caller,
            instance=one.row.instance,
            devices=snapshots.devices_named(one.row.instance, one.row.arguments),
            schedule=one.row.pk,
        )
        for one in claimed
    ]
    return [accepted.operation for accepted in instance_snapshot.ask(wanted)]


def _execute(claimed: Sequence[Claimed]) -> list[Operation]:
    made = []
    for one in claimed:
        left = agent_operations.deadline_seconds(one.row.arguments, bounded=True)
        command = one.row.arguments["command_line"]
        accepted = guest_execute.ask(one.caller, one.row.instance, command, left, ("schedule", one.row.pk))
        made.append(accepted.operation)
    return made


ASK: Mapping[str, Callable[[Sequence[Claimed]], list[Operation]]] = {
    ScheduleKind.SNAPSHOT: _snapshot,
    ScheduleKind.EXECUTE: _execute,
}


def take(dues: Sequence[Due]) -> int:
    """Have these ticks, by one transaction if nothing is in the way of any of them; how many operations that made.

    The operations have not been advanced: the caller does that, or the sweep. What goes wrong with one schedule is
    written down as its failed tick and keeps none of the others; only an outage of the database is raised (RO-12).
    """
    try:
        return _start(dues)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # of one of them; by itself each says what it is
        return sum(one_of_many(partial(_alone, due), "a tick was lost", schedule=str(due.schedule)) for due in dues)


def _alone(due: Due) -> int:
    try:
        return _attempt(due)
    except Had:
        _claim(due)
        return 0


def _attempt(due: Due) -> int:
    try:
        return _start([due])
    except (OperationalError, InterfaceError, Had):
        raise
    except LimitReached as error:
        if error.transient:
            _postpone(due, str(error))
        else:
            _refuse(due, TickState.FAILED, str(error))
    except NotReady as error:
        _refuse(due, TickState.SKIPPED, str(error))
    except SteadyfistError as error:
        _refuse(due, TickState.SKIPPED if error.code in PASSING else TickState.FAILED, str(error))
    except Exception as error:
        log.exception("a tick failed", extra={"schedule": str(due.schedule)})
        _refuse(due, TickState.FAILED, f"internal error: {type(error).__name__}")
    return 0


@durable
def _start(dues: Sequence[Due]) -> int:
    mine = {due.schedule: due.due for due in dues if _claim(due, last_state=TickState.STARTED, last_reason="")}
    held = _in_flight(mine)
    claimed: list[Claimed] = []
    for row in _read(mine):
        schedules.require_right(row)
        if len(held[row.pk]) > _room(row):
            _write([_tick(row, mine[row.pk], TickState.SKIPPED, IN_FLIGHT)])
            Schedule.objects.filter(pk=row.pk).update(last_state=TickState.SKIPPED, last_reason=IN_FLIGHT)
        else:
            claimed.append(Claimed(row, mine[row.pk], schedules.acting_for(row), held[row.pk]))
    return len(_submit(claimed))


@durable
def _refuse(due: Due, state: str, reason: str) -> None:
    if not _claim(due, last_state=state, last_reason=reason):
        return
    [row] = _read([due.schedule])
    _write([_tick(row, due.due, state, reason)])
    if state == TickState.FAILED:
        schedules.count_failure(row, reason)


def _postpone(due: Due, reason: str) -> None:
    rows = Schedule.objects.filter(pk=due.schedule, next_tick=due.due)
    rows.update(not_before=FromNow(POSTPONED_SECONDS * settings.TIME_SCALE), last_reason=f"waits: {reason}")


@durable
def trigger(caller: Caller, schedule: Schedule) -> Accepted:
    """A tick now, by whoever asks and in its name, whether the schedule is paused or not.

    Raises Conflict where a tick would be skipped because of an earlier one, and whatever refuses the operation itself.
    """
    row = Schedule.objects.select_for_update().exclude(state=State.DELETED).filter(pk=schedule.pk).first()
    if row is None:
        raise NotFound(f"recurring operation not found: {schedule.pk}")
    held = _in_flight([row.pk])[row.pk]
    if len(held) > _room(row):
        raise Conflict(IN_FLIGHT, code="schedule.in_flight", details={"operations": [str(one.pk) for one in held]})
    now = database_now()
    Schedule.objects.filter(pk=row.pk).update(last_tick=now, last_state=TickState.STARTED, last_reason="")
    [tick] = _submit([Claimed(row, now, caller, held)])
    assert tick.operation is not None
    return Accepted(tick, tick.operation)


@durable
def settle(tick: UUID) -> int:
    """Write what the tick's operation came to, once, and what follows from that for the schedule; 0 when it is done already."""
    found = Tick.objects.get(pk=tick)
    row = _lock(found.schedule_id)
    found = Tick.objects.select_for_update().select_related("operation").get(pk=tick)
    if found.state != TickState.STARTED or (found.operation and found.operation.state in OPEN_OPERATION):
        return 0
    state, reason = _verdict(found.operation)
    transition(found, state, reason=reason, finished_at=UtcNow())
    if state == TickState.SUCCEEDED:
        schedules.count_success(row)
    elif state == TickState.FAILED:
        schedules.count_failure(row, reason)
    else:
        Schedule.objects.filter(pk=row.pk).update(last_state=state, last_reason=reason)
    return 1


@durable
def give_up(tick: UUID, reason: str) -> int:
    """Nobody can say what the tick came to: neither success nor failure."""
    transition(Tick.objects.select_for_update().get(pk=tick), TickState.CANCELLED, reason=reason, finished_at=UtcNow())
    return 1


@durable
def end_with_instance(schedule: UUID) -> int:
    """A schedule whose instance was deleted goes too (RO-10)."""
    row = _lock(schedule)
    if row.state == State.DELETED or row.instance.state != State.DELETED:
        return 0
    schedules.end(CLUSTER, row, "recurring operation deleted with its instance")
    return 1


@durable
def break_down(schedule: UUID, reason: str) -> int:
    """Nobody can say when it is due: it stops until somebody changes or resumes it (RO-12)."""
    row = _lock(schedule)
    if row.state == State.CREATED:
        transition(row, State.ERROR, paused_reason=reason)
    return 1


def _claim(due: Due, **columns: Any) -> bool:
    """Have the tick, if it is still there; the schedule's row is locked from here to the commit."""
    values = {"next_tick": due.following, "last_tick": due.due, **columns}
    assigned = ", ".join(f"{column} = %s" for column in values)  # written out: it stands before every tick
    sql = f"UPDATE recurring_operations SET {assigned} WHERE uuid = %s AND next_tick = %s AND state = %s"
    told = [_told(value) for value in (*values.values(), str(due.schedule), due.due, str(State.CREATED))]
    with connection.cursor() as cursor:
        cursor.execute(sql, told)
        return bool(cursor.rowcount == 1)


def _told(value: Any) -> Any:
    """A moment as the database spells it."""
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime.datetime) else value


def _lock(schedule: UUID) -> Schedule:
    """The schedule's row alone is locked."""
    Schedule.objects.select_for_update().only("pk").get(pk=schedule)
    [row] = _read([schedule])
    return row


def _read(keys: Collection[UUID]) -> QuerySet[Schedule]:
    """With their namespaces and instances, of which only what a tick needs."""
    rows = Schedule.objects.select_related("namespace", "instance").only(*OF_THE_SCHEDULE, *OF_OTHERS)
    return rows.filter(pk__among=keys)


def _in_flight(keys: Collection[UUID]) -> Mapping[UUID, list[Operation]]:
    """Operations of these schedules' ticks that have not ended, oldest first."""
    found: dict[UUID, list[Operation]] = defaultdict(list)
    ticks = Tick.objects.filter(schedule__among=keys, state=TickState.STARTED, operation__state__in=OPEN_OPERATION)
    for tick in ticks.select_related("operation").order_by("operation__created_at"):
        assert tick.operation is not None
        found[tick.schedule_id].append(tick.operation)
    return found


def _room(row: Schedule) -> int:
    """How many operations in flight one more may join: none, the one that it is queued behind, or whatever it replaces."""
    return {Overlap.SKIP: 0, Overlap.QUEUE: 1}.get(Overlap(row.overlap), 2**31)


def _submit(claimed: Sequence[Claimed]) -> list[Tick]:
    """The ticks, each with the operation that it is."""
    made: list[Tick] = []
    for kind, ask in ASK.items():
        mine = [one for one in claimed if one.row.kind == kind]
        for one in mine:
            one.row.instance.namespace = one.row.namespace  # they are the same, and it is read already
        operations = ask(mine) if mine else []
        for one, operation in zip(mine, operations, strict=True):
            if one.held:
                engine.depend(operation, one.held, kind=DependencyKind.RUNS_AFTER)
            if one.caller.in_background:
                operation.is_held = True  # the pass advances what it asked for when it has asked for all that was due
            made.append(_tick(one.row, one.due, TickState.STARTED, operation=operation))
    _write(made)
    return made


def _tick(row: Schedule, due: datetime.datetime, state: str, reason: str = "", **columns: Any) -> Tick:
    finished: Combinable | None = None if state == TickState.STARTED else UtcNow()
    return Tick(schedule=row, due=due, state=state, reason=reason, finished_at=finished, **columns)


def _write(ticks: Sequence[Tick]) -> None:
    """Raises Had when one of them was there before."""
    try:
        insert(ticks)
    except IntegrityError as error:
        if is_duplicate(error):
            raise Had from error
        raise


def _verdict(operation: Operation | None) -> tuple[str, str]:
    """What an ended operation means for its tick. A command counts by its return code, as for any clock that runs commands."""
    if operation is None:
        return TickState.CANCELLED, "its operation is forgotten"
    if operation.state != OperationState.SUCCEEDED:
        state = TickState.CANCELLED if operation.state == OperationState.CANCELLED else TickState.FAILED
        return state, f"{operation.error_code}: {operation.error_message}"
    asked = operation.agent_operations.first()
    if asked is None:
        return TickState.SUCCEEDED, ""
    if asked.state != AgentOperationState.COMPLETE:
        return TickState.FAILED, asked.error_message or asked.state
    code = asked.results.get("0", {}).get("return-code", 0)
    return (TickState.FAILED, f"return code {code}") if code else (TickState.SUCCEEDED, "")

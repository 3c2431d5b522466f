"""Recurring operations as rows: who may have which, when they are next due, and what their failures lead to (RO-1 … RO-11).

A schedule belongs to the namespace of its instance, whoever made it: the key that did may be revoked (RO-11). What its
ticks start is in `sftasks/ticks.py`.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from sfweb.domain import agent_operations, events, limits, notices, recurrence
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_own
from sfweb.domain.recurrence import Recurrence
from sfweb.domain.transactions import durable
from sfweb.errors import Invalid, NotFound
from sfweb.models import KEPT_VERSIONS, Instance, Namespace, Overlap, Schedule, ScheduleKind
from sfweb.models.fields import FromNow, UtcNow, database_now
from sfweb.models.state import State, TickState, transition

MOST_FAILURES = 5
"""So many ticks in a row that failed pause a schedule (RO-8)."""
COOLDOWN_SECONDS = 60.0
"""After a failure, until the next tick (RO-8)."""
ON_REQUEST = "on request"
TIMES = ("every_seconds", "cron", "timezone")


@dataclass(frozen=True, kw_only=True)
class NewSchedule:
    """What a request for a schedule says. `arguments` are already checked by their kind."""

    name: str
    instance: Instance
    kind: str
    arguments: Mapping[str, Any]
    recurrence: Recurrence
    overlap: str = Overlap.SKIP
    is_enabled: bool = True


def recurrence_of(wanted: Mapping[str, Any]) -> Recurrence:
    """What `every_seconds`, `cron` and `timezone` of a request mean together; Invalid without exactly one of the first two."""
    if ("every_seconds" in wanted) == ("cron" in wanted):
        raise Invalid("every_seconds: every_seconds or cron must be given, and not both")
    if "cron" in wanted:
        return recurrence.by_cron(wanted["cron"], wanted.get("timezone", "UTC"))
    if "timezone" in wanted:
        raise Invalid("timezone: every_seconds knows no time zone")
    return recurrence.every(wanted["every_seconds"])


def stored(row: Schedule) -> Recurrence:
    return Recurrence(every=row.every_seconds, cron=row.cron, zone=row.timezone)


def find(caller: Caller, ref: str) -> Schedule:
    """By its uuid, for as long as its row is there."""
    return find_own(Schedule.objects.select_related("namespace", "instance"), "recurring operation", caller, ref)


@durable
def create(caller: Caller, wanted: NewSchedule) -> Schedule:
    """Raises NotFound for an instance that is going, Invalid for one that cannot do it, LimitReached at the ceiling."""
    namespace = limits.lock_within(wanted.instance.namespace_id, schedules=1)
    instance = Instance.objects.select_for_update().get(pk=wanted.instance.pk)
    if instance.state in (State.DELETED, State.DELETE_WAIT):
        raise NotFound(f"instance not found: {instance.pk}")
    _check_arguments(instance, wanted.kind, wanted.arguments)
    now = database_now()
    row = Schedule.objects.create(
        namespace=namespace,
        instance=instance,
        name=wanted.name,
        kind=wanted.kind,
        arguments=dict(wanted.arguments),
        overlap=wanted.overlap,
        next_tick=wanted.recurrence.after(now, now),
        state=State.CREATED if wanted.is_enabled else State.PAUSED,
        paused_reason=None if wanted.is_enabled else ON_REQUEST,
        **_columns(wanted.recurrence),
    )
    _tell(caller, row, "recurring operation created", {"kind": row.kind, "overlap": row.overlap})
    return row


@durable
def change(caller: Caller, schedule: Schedule, wanted: Mapping[str, Any]) -> None:
    """What of name, overlap, arguments and the times is in `wanted`. Other times count from now on."""
    row = _locked(schedule)
    columns = {name: wanted[name] for name in ("name", "overlap", "arguments") if name in wanted}
    if "arguments" in columns:
        _check_arguments(Instance.objects.get(pk=row.instance_id), row.kind, columns["arguments"])
    if not wanted.keys().isdisjoint(TIMES):
        now, new = database_now(), _changed(row, wanted)
        columns |= {**_columns(new), "next_tick": new.after(now, now)}
    if columns:
        Schedule.objects.filter(pk=row.pk).update(**columns)
        _tell(caller, row, "recurring operation changed", {"changed": sorted(columns)})


@durable
def pause(caller: Caller, schedule: Schedule) -> None:
    """No tick until it is resumed. Paused already, it stays so, and its reason with it."""
    row = _locked(schedule)
    if row.state != State.PAUSED:
        transition(row, State.PAUSED, paused_reason=ON_REQUEST)
        _tell(caller, row, "recurring operation paused")


@durable
def resume(caller: Caller, schedule: Schedule) -> None:
    """Forget the failures and go on. What would have been due meanwhile is not made up for: it was not wanted."""
    row = _locked(schedule)
    fresh: dict[str, Any] = {"consecutive_failures": 0, "not_before": None}
    if row.state == State.CREATED:
        Schedule.objects.filter(pk=row.pk).update(**fresh)
        return
    following = stored(row).after(database_now(), row.next_tick)
    transition(row, State.CREATED, paused_reason=None, next_tick=following, **fresh)
    _tell(caller, row, "recurring operation resumed")


@durable
def remove(caller: Caller, schedule: Schedule) -> None:
    """Operations that its ticks started go on; what they made stays."""
    end(caller, _locked(schedule), "recurring operation deleted")


def end(caller: Caller, row: Schedule, message: str) -> None:
    """Delete the schedule, whose row must be locked, in the caller's transaction."""
    transition(row, State.DELETED, deleted_at=UtcNow())
    _tell(caller, row, message)


def end_all_of(caller: Caller, namespace: Namespace) -> None:
    """With their namespace, in the transaction that deletes it (RO-11)."""
    for row in Schedule.objects.select_for_update().filter(namespace=namespace).exclude(state=State.DELETED):
        end(caller, row, "recurring operation deleted with its namespace")


def acting_for(row: Schedule) -> Caller:
    """Who asks at a tick: the schedule's namespace, by no key of its own (RO-11). What people wait for goes first (RO-4)."""
    return Caller(
        namespace=row.namespace.name,
        namespace_uuid=row.namespace_id,
        key_name="(schedule)",
        request_id=f"schedule-{row.pk}",
        in_background=True,
    )


def require_right(row: Schedule) -> None:
    """What was allowed when the schedule was made is looked at again at each tick (RO-11). Raises NotFound."""
    if row.namespace.state != State.CREATED:
        raise NotFound(f"namespace not found: {row.namespace.name}")
    if row.instance.namespace_id != row.namespace_id or row.instance.state == State.DELETED:
        raise NotFound(f"instance not found: {row.instance_id}")


def count_success(row: Schedule) -> None:
    """The schedule's row must be locked."""
    Schedule.objects.filter(pk=row.pk).update(
        consecutive_failures=0, not_before=None, last_state=TickState.SUCCEEDED, last_reason=""
    )


def count_failure(row: Schedule, reason: str) -> None:
    """A failed tick: rest, and after so many in a row pause until somebody resumes it (RO-8). The row must be locked."""
    failures = row.consecutive_failures + 1
    columns: dict[str, Any] = {
        "consecutive_failures": failures,
        "not_before": FromNow(COOLDOWN_SECONDS * settings.TIME_SCALE),
        "last_state": TickState.FAILED,
        "last_reason": reason,
    }
    if failures < MOST_FAILURES or row.state != State.CREATED:
        Schedule.objects.filter(pk=row.pk).update(**columns)
        return
    why = f"{failures} ticks in a row failed, the last one: {reason}"
    transition(row, State.PAUSED, paused_reason=why, **columns)
    _tell(acting_for(row), row, "recurring operation paused", {"reason": why})
    notices.tell("schedule.paused", f"schedule:{row.pk}", f"schedule {row.name} is paused: {why}", name=row.name)


def snapshots_kept(row: Schedule) -> int:
    """How many of those that its own ticks made are kept of each disk."""
    return int(row.arguments.get("max_versions", KEPT_VERSIONS))


def _changed(row: Schedule, wanted: Mapping[str, Any]) -> Recurrence:
    """What is not said stays: a new line keeps its time zone, a new zone its line."""
    said = {name: wanted[name] for name in TIMES if name in wanted}
    if "every_seconds" not in said and row.cron:
        said = {"cron": row.cron, "timezone": row.timezone, **said}
    return recurrence_of(said)


def _columns(wanted: Recurrence) -> dict[str, Any]:
    return {"every_seconds": wanted.every, "cron": wanted.cron, "timezone": wanted.zone}


def _check_arguments(instance: Instance, kind: str, arguments: Mapping[str, Any]) -> None:
    if kind == ScheduleKind.EXECUTE:
        agent_operations.deadline_seconds(arguments, bounded=True)
        if not instance.side_channels:
            raise Invalid(f"instance {instance.name} was created without a side channel", code="agent.none")
    elif "device" in arguments and not instance.disks.filter(device=arguments["device"], kind="disk").exists():
        raise Invalid(f"arguments.device: instance {instance.name} has no disk {arguments['device']}")


def _locked(schedule: Schedule) -> Schedule:
    row = Schedule.objects.select_for_update().filter(pk=schedule.pk).exclude(state=State.DELETED).first()
    if row is None:
        raise NotFound(f"recurring operation not found: {schedule.pk}")
    return row


def _tell(caller: Caller, row: Schedule, message: str, facts: Mapping[str, Any] | None = None) -> None:
    targets = [("schedule", row.pk), ("instance", row.instance_id)]
    told = {"schedule": str(row.pk), "name": row.name, **(facts or {})}
    events.record("audit", f"{message} by {caller}", targets, extra=told, request_id=caller.request_id)


def upcoming(row: Schedule, count: int) -> list[datetime.datetime]:
    """The due times that are next; none while it is paused."""
    return stored(row).upcoming(row.next_tick, count) if row.state == State.CREATED else []

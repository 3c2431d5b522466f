"""Users' schedules: what is due becomes operations, what these came to is written down, what lost its instance goes (RO-5 …).

A pass settles first, so that a tick which has ended holds nobody up. What is due is taken by pages, the longest overdue
first (RO-14); when all of it is in rows, the new operations are advanced for as long as a pass may take, the rest by the
sweep. A schedule that was due several times while no clock ran has one tick for all of them (RO-6).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.db.models import Exists, OuterRef, Q, QuerySet

from sftasks import engine, sweep, ticks
from sftasks.passes import one_of_many
from sfweb.domain import schedules
from sfweb.domain.callers import CLUSTER
from sfweb.errors import Conflict
from sfweb.models import Operation, Overlap, Schedule, Tick
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, OperationState, State, TickState

log = logging.getLogger(__name__)
PAGE, BATCH = 200, 20
"""What one look finds, and how much of it one transaction takes: it locks as many instances."""
MOST_ADVANCED = 5000
SETTLING_SECONDS, TAKING_SECONDS, ADVANCING_SECONDS = 15.0, 45.0, 15.0
"""For how long one pass does each; what is left then is the next one's."""


def run() -> dict[str, int]:
    counts = {
        "settled": sum(_each(_ended, _settle, SETTLING_SECONDS)),
        "withdrawn": sum(_guarded(_withdraw, pk) for pk in _replaced()),
        "deleted": sum(_guarded(ticks.end_with_instance, pk) for pk in _without_instance()),
    }
    started: list[int] = []
    counts["due"] = sum(_each(_due, partial(_take, started), TAKING_SECONDS))
    end = time.monotonic() + ADVANCING_SECONDS
    for pk in _waiting():
        if time.monotonic() > end:
            break
        _guarded(sweep.start, pk)
    return counts | {"started": sum(started)}


def _each(page: Callable[[], list[Any]], act: Callable[[Any], int], seconds: float) -> Iterator[int]:
    """Do it to page after page, until one is the last, none of it could be done, or the time is over."""
    end = time.monotonic() + seconds
    is_last = False
    while time.monotonic() < end and not is_last:
        rows = page()
        done = sum(_guarded(act, row) for row in rows)
        yield done
        is_last = sum(len(row) if isinstance(row, list) else 1 for row in rows) < PAGE or not done


def _guarded(act: Callable[[Any], int], row: Any) -> int:
    return one_of_many(partial(act, row), "a schedule could not be served", row=row)


def _ended() -> list[UUID]:
    """Ticks that started and whose operation has ended, the oldest first."""
    started = Tick.objects.filter(state=TickState.STARTED).exclude(operation__state__in=OPEN_OPERATION)
    return list(started.order_by("created_at").values_list("pk", flat=True)[:PAGE])


def _settle(tick: UUID) -> int:
    """What cannot be settled is given up, or it would be the first of each page for ever (RO-12)."""
    try:
        return ticks.settle(tick)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("a tick could not be settled", extra={"tick": str(tick)})
        return ticks.give_up(tick, f"internal error: {type(error).__name__}")


def _due() -> list[list[Any]]:
    """A page in batches, with the database's clock as `now`."""
    rested = Q(not_before__isnull=True) | Q(not_before__lte=UtcNow())
    rows = Schedule.objects.filter(rested, state=State.CREATED, next_tick__lte=UtcNow()).annotate(now=UtcNow())
    page = list(rows.only("next_tick", "every_seconds", "cron", "timezone").order_by("next_tick")[:PAGE])
    return [page[start : start + BATCH] for start in range(0, len(page), BATCH)]


def _take(started: list[int], rows: list[Any]) -> int:
    """Have the ticks of these; how many they were, whatever became of them."""
    dues = [due for row in rows if (due := _with_following(row))]
    started.append(ticks.take(dues))
    return len(rows)


def _with_following(row: Any) -> ticks.Due | None:
    """What cannot be computed any more stops the schedule, or it would be the first of each page for ever."""
    try:
        return ticks.Due(row.pk, row.next_tick, schedules.stored(row).after(row.now, row.next_tick))
    except Exception as error:
        log.exception("a schedule stops", extra={"schedule": str(row.pk)})
        reason = f"when it is due next cannot be computed: {type(error).__name__}: {error}"
        one_of_many(lambda: ticks.break_down(row.pk, reason), "it could not be stopped", schedule=str(row.pk))
    return None


def _waiting() -> "QuerySet[Operation, UUID]":
    """Operations of ticks that nothing open is in front of, the oldest first: those of this pass, and what others left."""
    rows = Operation.objects.filter(state=OperationState.WAITING, ticks__state=TickState.STARTED)
    return sweep.unhindered(rows).order_by("created_at").values_list("pk", flat=True)[:MOST_ADVANCED]


def _replaced() -> "QuerySet[Operation, UUID]":
    """Operations of ticks that a newer one of their schedule replaces and that were not yet asked to stop (RO-7)."""
    newer = Tick.objects.filter(
        schedule=OuterRef("ticks__schedule"), state=TickState.STARTED, due__gt=OuterRef("ticks__due")
    )
    rows = Operation.objects.filter(
        Exists(newer),
        ticks__state=TickState.STARTED,
        ticks__schedule__overlap=Overlap.REPLACE,
        state__in=OPEN_OPERATION,
        cancel_requested_at__isnull=True,
    )
    return rows.values_list("pk", flat=True)[:PAGE]


def _withdraw(operation: UUID) -> int:
    with suppress(Conflict):  # it has just ended
        engine.cancel(operation, CLUSTER)
        return 1
    return 0


def _without_instance() -> "QuerySet[Schedule, UUID]":
    gone = Schedule.objects.filter(instance__state=State.DELETED).exclude(state=State.DELETED)
    return gone.order_by("created_at").values_list("pk", flat=True)[:PAGE]

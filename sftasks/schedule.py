"""The clock: which reconcilers run how often, and how a run claims its slot.

`RECONCILERS` is the whole list; start-up inserts what is missing into beat's table and never overwrites an operator's
edit. A run claims its duty by one conditional UPDATE, so two beats, a doubled message or a slow run never overlap (EN-17).
"""

import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.models import F, Q

from sfweb import metrics
from sfweb.models import Duty
from sfweb.models.fields import FromNow, UtcNow

log = logging.getLogger(__name__)

RECONCILERS: Mapping[str, float] = {
    "sweep_operations": 10,
    "put_off": 2,
    "node_states": 10,
    "node_objects": 60,
    "node_capacity": 300,
    "expired_reservations": 60,
    "pool_allocations": 60,
    "broker_users": 60,
    "outside_addresses": 300,
    "hard_deletes": 300,
    "prune_events": 3600,
    "agent_operations": 30,
    "blob_copies": 60,
    "unused_blobs": 300,
    "surplus_versions": 300,
    "uploads": 60,
    "screenshots": 300,
    "expired_keys": 300,
    "namespace_cleans": 5,
    "node_drains": 5,
    "node_deletes": 5,
    "node_resources": 60,
    "queue_lengths": 60,
    "notices": 10,
    "schedules": 5,
}
"""Name of the file in `sftasks/reconcilers/` and its default period in seconds."""

SLACK = 0.7
"""Share of the period after which the next run may start: beat's messages are never exactly on time."""
LEASE_SECONDS = 30.0
"""A run holds its slot for so long and renews it three times as often; a process that died gives it up by that alone."""
OVERDUE_SECONDS = 30.0


def task_name(reconciler: str) -> str:
    return f"reconcile.{reconciler}"


def install() -> None:
    """Insert what is missing into beat's table and the duties. Beat would wait for a last run in the future to be past."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    for name, seconds in RECONCILERS.items():
        every = max(1, round(seconds * settings.TIME_SCALE))
        interval, _ = IntervalSchedule.objects.get_or_create(every=every, period=IntervalSchedule.SECONDS)
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={"task": task_name(name), "interval": interval, "queue": "control", "expire_seconds": None},
        )
        Duty.objects.get_or_create(name=name, defaults={"next_run_at": UtcNow()})
    PeriodicTask.objects.filter(last_run_at__gt=UtcNow()).update(last_run_at=None)


def run(name: str) -> dict[str, int] | None:
    """Run one reconciler if its slot is free; its counts, or None when somebody else has it or it is not due.

    A pass that cannot read what there is to do raises, and nothing is taken for empty; how often that was so in a row is
    counted in its row and as a metric (RO-13).
    """
    period = RECONCILERS[name] * settings.TIME_SCALE
    if not _claim(name, period):
        return None
    reconcile: Callable[[], dict[str, int]] = importlib.import_module(f"sftasks.reconcilers.{name}").run
    began = time.monotonic()
    try:
        with _renewed(name):
            counts = reconcile()
    except Exception as error:
        metrics.WORK_LIST_FAILURES.labels(name).inc()
        with suppress(DatabaseError):  # the first error is the one to tell; the slot runs out by itself
            _finish(name, began, last_error=f"{type(error).__name__}: {error}"[:1000], failures=F("failures") + 1)
        raise
    metrics.WORK_LIST_FAILURES.labels(name).set(0)
    _finish(name, began, last_result=counts, last_error="", failures=0)
    return counts


def _claim(name: str, period: float) -> bool:
    free = Q(running_until__isnull=True) | Q(running_until__lt=UtcNow())
    slot = Duty.objects.filter(free, name=name, next_run_at__lte=UtcNow())
    return slot.update(next_run_at=FromNow(period * SLACK), running_until=_lease(), last_run_at=UtcNow()) == 1


def _lease() -> FromNow:
    return FromNow(LEASE_SECONDS * settings.TIME_SCALE)


@contextmanager
def _renewed(name: str) -> Iterator[None]:
    """Hold the slot for as long as this process lives, however long the run takes."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE_SECONDS * settings.TIME_SCALE / 3):
            try:
                Duty.objects.filter(name=name).update(running_until=_lease())
            except DatabaseError as error:
                log.warning("the slot of a duty could not be renewed", extra={"duty": name, "error": str(error)})
            finally:
                close_old_connections()
        connection.close()

    thread = threading.Thread(target=renew, name=f"slot-{name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _finish(name: str, began: float, **columns: Any) -> None:
    seconds = round(time.monotonic() - began, 3)
    Duty.objects.filter(name=name).update(running_until=None, last_seconds=seconds, **columns)


class Understudy(threading.Thread):
    """In beat's process: does what operations need when its message is overdue, so that Redis may be gone for long (EN-17)."""

    DUTIES = ("sweep_operations", "put_off")

    def __init__(self) -> None:
        super().__init__(name="understudy", daemon=True)

    def run(self) -> None:
        while True:
            time.sleep(RECONCILERS["sweep_operations"] * settings.TIME_SCALE)
            try:
                self.look()
            except Exception:
                log.exception("what was overdue failed in beat's process")
            finally:
                close_old_connections()

    def look(self) -> bool:
        """True when one of them was overdue and was run here."""
        late = Duty.objects.filter(next_run_at__lt=FromNow(-OVERDUE_SECONDS * settings.TIME_SCALE))
        return any([run(name) is not None for name in self.DUTIES if late.filter(name=name).exists()])

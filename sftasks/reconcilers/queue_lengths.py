"""Counts what is open, and tells of what has waited for long without a step being sent, with why.

The counts are metrics of the process that runs it. An operation is told of once; nothing is done about it here: what a dead
process forgot is the sweep's.
"""

from functools import partial

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from sftasks import explain
from sftasks.passes import one_of_many
from sfweb import metrics
from sfweb.domain import events
from sfweb.domain.transactions import durable
from sfweb.models import Event, EventObject, Operation, Step
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION

PAGE = 100
TOLD = "waits for long: "
_OPEN = ", ".join(f"'{state}'" for state in OPEN_OPERATION)


def run() -> dict[str, int]:
    counts = {"open": _measure(), "told": 0}
    for operation in _late():
        counts["told"] += one_of_many(
            partial(_tell, operation), "a wait could not be told", operation=str(operation.pk)
        )
    return counts


def _measure() -> int:
    metrics.OPERATIONS_OPEN.clear()
    metrics.OPERATIONS_OLDEST.clear()
    total = 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT kind, state, COUNT(*) FROM operations WHERE state IN ({_OPEN}) GROUP BY kind, state")
        for kind, state, count in cursor.fetchall():
            metrics.OPERATIONS_OPEN.labels(kind, state).set(count)
            total += count
        cursor.execute(
            "SELECT priority, MAX(TIMESTAMPDIFF(SECOND, created_at, UTC_TIMESTAMP(6))) FROM operations"
            f" WHERE state IN ({_OPEN}) GROUP BY priority"
        )
        for priority, oldest in cursor.fetchall():
            metrics.OPERATIONS_OLDEST.labels(str(priority)).set(oldest)
    return total


def _late() -> "QuerySet[Operation]":
    rows = Operation.objects.filter(
        state__in=OPEN_OPERATION, created_at__lt=FromNow(-settings.OPERATION_LONG_WAIT_SECONDS)
    )
    sent = Step.objects.filter(operation=OuterRef("pk"), first_sent_at__isnull=False)
    message = Event.objects.filter(pk=OuterRef("event_uuid"), message__startswith=TOLD)
    told = EventObject.objects.filter(
        Exists(message), object_type="operation", object_uuid=OuterRef("pk"), event_type="status"
    )
    return rows.exclude(Exists(sent)).exclude(Exists(told)).order_by("created_at")[:PAGE]


@durable
def _tell(operation: Operation) -> int:
    why = explain.why(operation)
    events.record_on(operation, "status", f"{TOLD}{why['sentence']}", extra={"operation": str(operation.pk), **why})
    return 1

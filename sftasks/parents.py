"""An operation that has no steps of its own and waits for others, which a reconciler asks for in its name."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from sftasks import engine
from sftasks.operation import Accepted
from sftasks.passes import one_of_many
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotFound
from sfweb.models import DependencyKind, Operation, OperationDependency
from sfweb.models.fields import UtcNow
from sfweb.models.state import OperationState

log = logging.getLogger(__name__)
PAGE = 100


def whoever_asked(caller: Caller) -> list[str]:
    """For the `by` of an operation's params."""
    return [caller.namespace, caller.key_name]


def asker(operation: Operation) -> Caller:
    """Who asked for it, as the one who asks for what it waits for."""
    namespace, key = operation.params["by"]
    return Caller(namespace=namespace, namespace_uuid=None, key_name=key, request_id=operation.request_id)


def go_on_with_each(kind: str, go_on: Callable[[Operation], int]) -> int:
    """What `go_on` counts for the waiting operations of the kind, the oldest first; one keeps no other back (RO-12)."""
    waiting = Operation.objects.filter(kind=kind, state=OperationState.WAITING).order_by("created_at")
    keys = list(waiting.values_list("pk", flat=True))
    return sum(one_of_many(partial(go_on_with, pk, go_on), f"{kind} cannot go on", operation=str(pk)) for pk in keys)


def go_on_with(pk: UUID, go_on: Callable[[Operation], int]) -> int:
    """What `go_on` counts for the operation, if it still waits."""
    operation = Operation.objects.filter(pk=pk, state=OperationState.WAITING).first()
    return go_on(operation) if operation else 0


@durable
def wait_for(parent: UUID, needs: Sequence[Operation], kind: str = DependencyKind.DEPENDS_ON) -> None:
    """Under the lock of the waiting operation; one that was cancelled meanwhile waits for nothing any more."""
    operation = Operation.objects.select_for_update().get(pk=parent)
    if operation.state == OperationState.WAITING:
        engine.depend(operation, needs, kind=kind)
        engine.after_commit(engine.advance, parent)


def ask_for(operation: Operation, rows: "QuerySet[Any, Any]", delete: Callable[[Caller, Any], Accepted]) -> int:
    """Ask for the deletes of a page of `rows`, in their order, that the waiting operation has not asked for; how many.

    A page takes its time: before each it is looked whether that is still asked for and the row still one of these.
    """
    waiting = Operation.objects.filter(pk=operation.pk, state=OperationState.WAITING)
    known = OperationDependency.objects.filter(operation=operation).values("needs__targets__target_uuid")
    asked = []
    for row in rows.exclude(pk__in=known)[:PAGE]:
        if not waiting.exists() or not rows.filter(pk=row.pk).exists():
            continue
        try:
            asked.append(delete(asker(operation), row).operation)
        except NotFound:
            continue  # it has gone by itself
        except Conflict as error:
            log.info("not yet: %s", error, extra={"uuid": str(row.pk)})
    if asked:
        wait_for(operation.pk, asked)
    return len(asked)


def tell_progress(operation: Operation, left: int) -> None:
    """`left` of as many as `params` says were `there`."""
    there = operation.params["there"]
    percent = min(99, 100 * max(0, there - left) // max(1, there))
    rows = Operation.objects.filter(pk=operation.pk, state=OperationState.WAITING, progress__lt=percent)
    rows.update(progress=percent, progressed_at=UtcNow())

"""An operation that has no steps of its own and waits for others, which a reconciler asks for in its name."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import engine
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.models import DependencyKind, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import OperationState


def whoever_asked(caller: Caller) -> list[str]:
    """For the `by` of an operation's params."""
    return [caller.namespace, caller.key_name]


def asker(operation: Operation) -> Caller:
    """Who asked for it, as the one who asks for what it waits for."""
    namespace, key = operation.params["by"]
    return Caller(namespace=namespace, namespace_uuid=None, key_name=key, request_id=operation.request_id)


@durable
def wait_for(parent: UUID, needs: Sequence[Operation], kind: str = DependencyKind.DEPENDS_ON) -> None:
    """Under the lock of the waiting operation; one that was cancelled meanwhile waits for nothing any more."""
    operation = Operation.objects.select_for_update().get(pk=parent)
    if operation.state == OperationState.WAITING:
        engine.depend(operation, needs, kind=kind)
        engine.after_commit(engine.advance, parent)


def tell_progress(operation: Operation, left: int) -> None:
    """`left` of as many as `params` says were `there`."""
    there = operation.params["there"]
    percent = min(99, 100 * max(0, there - left) // max(1, there))
    rows = Operation.objects.filter(pk=operation.pk, state=OperationState.WAITING, progress__lt=percent)
    rows.update(progress=percent, progressed_at=UtcNow())

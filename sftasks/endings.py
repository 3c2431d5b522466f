"""What is told when an operation ends: to all that it was about, to who looks at it, and to operators when it failed.

Part of the engine; called in the transaction that ends the operation, under its lock.
"""

from sftasks import statements
from sfweb.domain import events, notices
from sfweb.models import Operation
from sfweb.models.state import OperationState


def tell(operation: Operation, code: str, message: str, parked: bool) -> None:
    """How it ended, and what it took (QP-2)."""
    own = ("operation", operation.pk)
    about = {"operation": str(operation.pk), "kind": operation.kind}
    cause = {"code": code, "message": message, "parked": parked} if code else {}
    events.record_all(
        [
            events.Entry(
                kind="audit",
                message=f"{operation.kind} {operation.state}",
                targets=[own, *events.targets_of(operation)],
                extra={**about, **cause},
                request_id=operation.request_id,
            ),
            events.Entry(
                kind="usage",
                message="execution duration",
                targets=[own],
                extra={**about, **statements.spent(operation)._asdict()},
                request_id=operation.request_id,
            ),
        ]
    )
    if operation.state == OperationState.FAILED:
        sentence = f"{operation.kind} of {operation.object_key} failed: {code} {message}".rstrip()
        notices.tell("operation.failed", f"operation:{operation.pk}", sentence, operation=operation.kind, code=code)

"""The net under the engine: finds what a dead process left half done, and advances it. Part of the engine.

Nothing here is needed while every process lives. Each pass looks at rows only, takes bounded pages, and repeats verbs
that are harmless when repeated (EN-6, EN-12, EN-14).
"""

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from sftasks import celery, dispatch, engine, statements, turns
from sftasks.operation import kinds
from sftasks.passes import one_of_many
from sfweb.domain import node_life
from sfweb.domain.transactions import durable
from sfweb.models import DependencyKind, Node, Operation, OperationDependency, Step
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import OPEN_OPERATION, OPEN_STEP, OperationState, State, StepState, transition

PAGE = 200
FRESH_SECONDS = 2.0
MISSING = ("node.missing", "a node that this needs is missing")


def sweep() -> dict[str, int]:
    """One pass; {what: how many}."""
    return {
        "given_up": _each(give_up, _on_missing_nodes()),
        "timed_out": _each(time_out, _waited_too_long()),
        "advanced": _each(engine.advance, [*_waiting(), *_stuck(), *_asked_to_stop()]),
        "rung": sum(ring_node(node) for node in _nodes_with_due_steps()),
    }


def ring_node(node: UUID) -> int:
    """Send and ring what is due on one node, as far as its queues have room."""
    messages = []
    for bulk, queue in statements.queues(node).items():
        for pk in turns.next_due(node, bulk, queue):
            message = dispatch.try_to_send(pk)
            if message:
                messages.append((message, bulk))
            else:
                step = Step.objects.filter(pk=pk, state=StepState.OBSOLETE).values("operation_id").first()
                if step:
                    engine.advance(step["operation_id"])
    return celery.ring(messages)


@durable
def give_up(operation_uuid: UUID) -> None:
    """End what waits for a missing node: an absence succeeds and leaves a residue, a create unwinds (EN-12).

    Everything else fails and nothing is undone: its wish stays in the rows and is sent when the node returns.
    """
    operation = Operation.objects.select_for_update().get(pk=operation_uuid)
    if operation.state == OperationState.RUNNING and _must_be_heard(operation):
        return
    if operation.state == OperationState.RUNNING and (node := _lose_steps(operation)):
        if not kinds()[operation.kind].creates:
            engine.end(operation, OperationState.FAILED, *MISSING)
        elif not engine.go_elsewhere(operation, node, *MISSING):
            engine.fail(operation, *MISSING)
    engine.after_commit(engine.advance, operation.pk)


def _must_be_heard(operation: Operation) -> bool:
    """True while only a node that is missing, and may return, can say what was done (EN-8)."""
    looks = kinds()[operation.kind].finds_out
    silent = Step.objects.filter(operation=operation, state__in=OPEN_STEP, node__in=node_life.beyond_reach())
    return silent.filter(action__in=looks).exclude(node__state=State.DELETED).exists()


def _lose_steps(operation: Operation) -> UUID | None:
    """Give up the steps on nodes beyond reach; the node of one that was to make something, not to take it away."""
    lost = Step.objects.filter(operation=operation, state__in=OPEN_STEP, node__in=node_life.beyond_reach())
    needed = None
    for step in lost:
        if dispatch.is_absence(step):
            transition(step, StepState.OBSOLETE, finished_at=UtcNow(), reason="node missing: left as a residue")
        else:
            transition(step, StepState.FAILED, finished_at=UtcNow(), reason="node missing")
            needed = step.node_id
    return needed


@durable
def time_out(operation_uuid: UUID) -> None:
    """A wait that has a bound has reached it: an ordering is dropped, a shared fate ends the waiting one (CO-7)."""
    operation = Operation.objects.select_for_update().get(pk=operation_uuid)
    if operation.state != OperationState.WAITING:
        return
    late = OperationDependency.objects.filter(
        operation=operation, wait_until__lt=UtcNow(), needs__state__in=OPEN_OPERATION
    )
    if late.filter(kind=DependencyKind.DEPENDS_ON).exists():
        engine.end(operation, OperationState.CANCELLED, "dependency.timeout", "what it waits for took too long")
    else:
        late.delete()
        engine.after_commit(engine.advance, operation.pk)


def _each(verb: Callable[[UUID], object], operations: Iterable[UUID]) -> int:
    """How many of them the verb was done for; one keeps no other back (RO-12)."""

    def do(pk: UUID) -> int:
        verb(pk)
        return 1

    complaint = f"sweep could not {verb.__name__}"
    return sum(one_of_many(partial(do, pk), complaint, operation=str(pk)) for pk in operations)


def _waiting() -> "QuerySet[Operation, UUID]":
    """Waiting, old enough that the process that submitted it had its chance, nothing open in front of it, nobody running.

    Some of these wait for what only their kind knows (`ready`): so a page is drawn at random, or they would fill it for ever.
    """
    rows = Operation.objects.filter(
        state=OperationState.WAITING, created_at__lt=FromNow(-FRESH_SECONDS * settings.TIME_SCALE)
    ).exclude(not_before__gt=UtcNow())
    return unhindered(rows).order_by("?").values_list("pk", flat=True)[:PAGE]


def start(operation: UUID) -> int:
    """`advance` for one of many, which counts."""
    engine.advance(operation)
    return 1


def unhindered(rows: "QuerySet[Operation]") -> "QuerySet[Operation]":
    """Those with nothing open in front of them, and nobody running on the same object."""
    needs = OperationDependency.objects.filter(operation=OuterRef("pk"), needs__state__in=OPEN_OPERATION)
    runner = Operation.objects.filter(running_key=OuterRef("object_key"))
    return rows.exclude(Exists(needs)).exclude(Exists(runner))


def _stuck() -> "QuerySet[Operation, UUID]":
    """Running without an open step, or unwinding without an open step of any purpose."""
    rows = Operation.objects.filter(state__in=(OperationState.RUNNING, OperationState.UNWINDING))
    still = Step.objects.filter(operation=OuterRef("pk"), state__in=OPEN_STEP)
    return rows.exclude(Exists(still)).values_list("pk", flat=True)[:PAGE]


def _asked_to_stop() -> "QuerySet[Operation, UUID]":
    rows = Operation.objects.filter(state__in=(OperationState.RUNNING, OperationState.UNWINDING))
    unwinding = rows.filter(state=OperationState.UNWINDING) | rows.filter(cancel_requested_at__isnull=False)
    return unwinding.values_list("pk", flat=True)[:PAGE]


def _on_missing_nodes() -> "QuerySet[Operation, UUID]":
    rows = Operation.objects.filter(state__in=(OperationState.RUNNING, OperationState.UNWINDING))
    lost = Step.objects.filter(operation=OuterRef("pk"), state__in=OPEN_STEP, node__in=node_life.beyond_reach())
    return rows.filter(Exists(lost)).values_list("pk", flat=True)[:PAGE]


def _waited_too_long() -> "QuerySet[Operation, UUID]":
    late = OperationDependency.objects.filter(wait_until__lt=UtcNow(), operation__state=OperationState.WAITING)
    return late.values_list("operation_id", flat=True)[:PAGE]  # type: ignore[return-value]


def _nodes_with_due_steps() -> "QuerySet[Node, UUID]":
    planned = Step.objects.filter(node=OuterRef("pk"), state=StepState.PLANNED)
    return Node.objects.filter(Exists(planned)).values_list("pk", flat=True)

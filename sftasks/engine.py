"""The engine: the only writer of operations and steps. Each verb is one short transaction.

    submit     insert a wish, or join the equal one that waits; inside the caller's transaction
    advance    start what can start, send the stage that is next, end what is done
    settle     take a node's outcomes for steps that are open, once, and advance in the same transaction
    cancel     end what waits, ask what runs to stop
    hand_out, sweep   in `dispatch.py` and `sweep.py`

Lock order everywhere: operation, steps, node_objects, target rows. A transaction that ends an operation also picks what
waited for it; those are advanced after the commit, by this process if it lives, else by the sweep. Read the numbered
rules (EN-*) in docs/engine.md before changing a line.
"""

import datetime
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F

from nodeagent.wire import Outcome
from sftasks import dispatch, endings, outcomes, statements, undo
from sftasks.operation import Ended, Wish, kinds, new_operation, queued_key
from sfweb.domain import events, limits
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.rows import insert, insert_unless_taken
from sfweb.domain.transactions import Again, durable
from sfweb.errors import Conflict
from sfweb.models import DependencyKind, Node, Operation, OperationDependency, OperationTarget, Step
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, OPEN_STEP, OperationState, StepState, transition

log = logging.getLogger(__name__)
MOST_STARTS, STARTS_SECONDS, REST_SECONDS = 5, 10.0, 1.0
"""What may gather starts at once so often in so many seconds, then after a rest: of six hundred wishes most are joined."""


def submit(wish: Wish) -> Operation:
    """Insert the operation and its targets in the caller's transaction; it is advanced after the commit.

    If the kind coalesces and an equal one waits, that one is joined and returned with `joined` raised: it has not read
    any row yet (EN-5). Raises Again when another transaction inserted the equal one in this moment.
    """
    kind = kinds()[wish.kind]
    if kind.supersedes:
        _supersede(wish)
    key = queued_key(kind, wish)
    if key:
        waiting = statements.lock_waiting(key)
        if waiting:
            return _join(waiting, wish)
    elif wish.namespace is not None and wish.caller != CLUSTER and not kind.supersedes:
        limits.check_waiting({wish.namespace: 1})  # what coalesces waits once for each object, what deletes makes room
    operation = new_operation(kind, wish, key)
    if wish.gathers:
        operation.not_before = _after_a_rest(wish.object_key)
    if not insert_unless_taken(operation):
        raise Again
    _announce([operation], [wish])
    return operation


def submit_new(wishes: Sequence[Wish]) -> list[Operation]:
    """`submit` for wishes of kinds that neither coalesce nor supersede; as many statements as for one.

    Whoever calls knows that so many operations more may wait in their namespaces.
    """
    operations = [new_operation(kinds()[wish.kind], wish, None) for wish in wishes]
    insert(operations)
    _announce(operations, wishes)
    return operations


def _announce(operations: Sequence[Operation], wishes: Sequence[Wish]) -> None:
    """Targets and events of operations that were just inserted; they are advanced after the commit."""
    pairs = list(zip(operations, wishes, strict=True))
    insert(
        [
            OperationTarget(operation=operation, target_type=kind, target_uuid=pk)
            for operation, wish in pairs
            for kind, pk in dict.fromkeys(wish.targets)
        ]
    )
    events.record_all(
        [
            events.Entry(
                kind="audit",
                message=f"{operation.kind} requested",
                targets=[("operation", operation.pk), *wish.targets],
                extra={"operation": str(operation.pk), "kind": operation.kind},
                request_id=operation.request_id,
            )
            for operation, wish in pairs
        ]
    )
    for operation in operations:
        operation.is_ours, operation.needed = True, set()
        after_commit(_advance_if_free, operation)


def remember(operation: Operation, **facts: Any) -> None:
    """Add to the params of an operation that this transaction submitted; a joined one keeps what it has."""
    if not operation.joined:
        operation.params = {**operation.params, **facts}
        operation.save(update_fields=["params"])


def aim(*aims: tuple[Operation, Sequence[tuple[str, UUID]]]) -> None:
    """More targets of operations that this transaction submitted, which its rows have made; (operation, targets)."""
    insert(
        [
            OperationTarget(operation=operation, target_type=kind, target_uuid=pk)
            for operation, targets in aims
            for kind, pk in targets
        ]
    )


def depend(operation: Operation, needs: Iterable[Operation], *, kind: str = DependencyKind.DEPENDS_ON) -> None:
    """Let a waiting operation wait for others; same transaction as its `submit`. Ended ones are looked at by `advance`."""
    depend_each([(operation, needs)], kind=kind)


def depend_each(
    edges: Sequence[tuple[Operation, Iterable[Operation]]], *, kind: str = DependencyKind.DEPENDS_ON
) -> None:
    """`depend` for several operations at once."""
    lines = []
    for operation, needs in edges:
        known = operation.needed
        if known is None:
            known = set(OperationDependency.objects.filter(operation=operation).values_list("needs_id", flat=True))
        rows = {row.uuid: row for row in needs if row.uuid != operation.uuid and row.uuid not in known}
        lines += [OperationDependency(operation=operation, needs=row, kind=kind) for row in rows.values()]
        operation.needed = known | set(rows)
        operation.is_held = operation.is_held or any(row.is_ours for row in rows.values())
    insert(lines)


@durable
def advance(operation_uuid: UUID) -> None:
    """Bring one operation as far as it can go now. Harmless when repeated, at any time, by any process."""
    operation = statements.lock_operation(operation_uuid)
    if operation is None:
        return
    planned: list[Step] | None = None
    if operation.state == OperationState.WAITING:
        planned = _start(operation)
        if planned is None:
            return
    _step_on(operation, planned)


@durable
def settle(node: UUID, *told: Outcome) -> outcomes.Settled:
    """Take `node`'s outcomes for the open steps that hold their tokens, each once, and bring the operations on.

    One that comes late changes nothing. Either all of this is done or nothing.
    """
    sending = dispatch.Sending()
    by_token = {outcome.token: outcome for outcome in told}
    locked = statements.lock_operations_of(by_token, node)
    open_steps = (step for _, near in locked.values() for step in near)
    sent = {step.token: step for step in open_steps if step.state == StepState.SENT and step.node_id == node}
    taken: dict[UUID, list[Step]] = {}
    for token, outcome in by_token.items():
        if token in sent:
            step = sent[token]
            _take(locked[step.operation_id][0], step, outcome)
            taken.setdefault(step.operation_id, []).append(step)
    outcomes.tell_late(node, [outcome for token, outcome in by_token.items() if token not in sent])
    for key, steps in taken.items():
        operation, near = locked[key]
        as_read = all(step.state == StepState.DONE for step in steps)
        _step_on(operation, near if as_read else None, sending)
    return outcomes.Settled(sum(map(len, taken.values())), sending.sent_to(node))


def _take(operation: Operation, step: Step, outcome: Outcome) -> None:
    verdict = outcomes.apply(operation, step, outcome)
    if verdict == outcomes.Verdict.PARK and operation.state in OPEN_OPERATION:
        end(operation, OperationState.FAILED, outcome.code or "unknown", outcome.message, parked=True)
    elif verdict == outcomes.Verdict.FAIL and not go_elsewhere(operation, step.node_id, outcome.code, outcome.message):
        fail(operation, outcome.code, outcome.message)


@durable
def cancel(operation_uuid: UUID, caller: Caller) -> Operation:
    """End a waiting operation, ask a running one to stop. Raises Conflict for one that others joined or that has ended."""
    operation = Operation.objects.select_for_update().get(uuid=operation_uuid)
    if operation.state not in OPEN_OPERATION:
        raise Conflict(f"the operation is {operation.state} already", code="operation.ended")
    if operation.joined or operation.requested_by.endswith("(cluster)"):
        raise Conflict("others wait for this operation too: it cannot be cancelled", code="operation.shared")
    _tell(operation, "cancel requested", extra={"by": str(caller)})
    if operation.state == OperationState.WAITING:
        end(operation, OperationState.CANCELLED, "cancelled", "cancelled before it started")
    else:
        Operation.objects.filter(pk=operation.pk).update(cancel_requested_at=UtcNow())
        operation.refresh_from_db()
        _step_on(operation)
    return operation


def fail(operation: Operation, code: str, message: str) -> None:
    """The running operation cannot succeed: undo what was sent if the kind can, else end it. Call under its lock."""
    kind = kinds()[operation.kind]
    if operation.state != OperationState.RUNNING:
        return
    if kind.retract is None:
        asked = operation.cancel_requested_at is not None and code == "cancelled"
        end(operation, OperationState.CANCELLED if asked else OperationState.FAILED, code, message)
        return
    transition(operation, OperationState.UNWINDING, error_code=code[:64], error_message=message)
    _tell(operation, f"{operation.kind} unwinds", extra={"code": code, "message": message})


def go_elsewhere(operation: Operation, node: UUID, code: str, message: str) -> bool:
    """What failed on the node waits to be done on another if its kind finds one; False when it has to fail. Under its lock."""
    elsewhere = kinds()[operation.kind].elsewhere
    if elsewhere is None or operation.cancel_requested_at is not None or operation.state == OperationState.UNWINDING:
        return False
    needs = elsewhere(operation, node, code, message)
    if needs is None:
        return False
    if operation.state == OperationState.RUNNING:
        transition(operation, OperationState.WAITING, running_key=None, stage=0, progress=0)
    OperationDependency.objects.filter(operation=operation).delete()
    operation.needed = set()
    depend(operation, needs)
    name = Node.objects.values_list("name", flat=True).get(pk=node)
    _tell(operation, f"{operation.kind} goes to another node", extra={"node": name, "code": code, "message": message})
    after_commit(advance, operation.pk)
    return True


def end(operation: Operation, state: str, code: str = "", message: str = "", *, parked: bool = False) -> None:
    """End the operation under its lock: write the target, free its keys, wake what waited. `parked`: nothing is undone."""
    if state != OperationState.SUCCEEDED:  # then none is left
        Step.objects.filter(operation=operation, state=StepState.PLANNED).update(
            state=StepState.OBSOLETE, finished_at=UtcNow()
        )
    transition(
        operation,
        state,
        queued_key=None,
        running_key=None,
        finished_at=UtcNow(),
        progress=100 if state == OperationState.SUCCEEDED else operation.progress,
        error_code=code[:64],
        error_message=message,
    )
    kinds()[operation.kind].finish(operation, Ended(state=state, code=code, message=message, parked=parked))
    endings.tell(operation, code, message, parked)
    for successor in statements.woken_by(operation):
        after_commit(advance, successor)


def after_commit(function: Callable[..., Any], *args: Any) -> None:
    """Run after the commit, in this process. A failure is logged only: the rows are there and the sweep finds them."""

    def run() -> None:
        try:
            function(*args)
        except Exception:
            log.exception(
                "left to the sweep", extra={"verb": function.__name__, "operation": str(args[0]) if args else ""}
            )

    transaction.on_commit(run)


def _after_a_rest(object_key: str) -> datetime.datetime | None:
    span, rest = STARTS_SECONDS * settings.TIME_SCALE, REST_SECONDS * settings.TIME_SCALE
    return statements.rested_at(object_key, MOST_STARTS, span, rest)


def _join(waiting: Operation, wish: Wish) -> Operation:
    Operation.objects.filter(pk=waiting.pk).update(joined=F("joined") + 1)
    waiting.joined += 1
    waiting.is_ours = True
    if waiting.not_before is not None and not wish.gathers:
        Operation.objects.filter(pk=waiting.pk).update(not_before=None)
        after_commit(advance, waiting.pk)
    _tell(waiting, f"{waiting.kind} joined", extra={"by": str(wish.caller), "request_id": wish.caller.request_id})
    return waiting


def _supersede(wish: Wish) -> None:
    """End what waits on the object and ask what runs to stop, in the transaction of the newer wish (EN-14)."""
    rows = Operation.objects.select_for_update().filter(object_key=wish.object_key, state__in=OPEN_OPERATION)
    for row in rows.exclude(kind=wish.kind).order_by("created_at"):
        if row.state == OperationState.WAITING:
            end(row, OperationState.CANCELLED, "superseded", f"superseded by {wish.kind}")
        elif row.cancel_requested_at is None:
            Operation.objects.filter(pk=row.pk).update(cancel_requested_at=UtcNow())
            after_commit(advance, row.pk)


def _advance_if_free(operation: Operation) -> None:
    """After the commit of its `submit`: what waits for an operation of the same transaction is woken when that one ends."""
    if not operation.is_held:
        advance(operation.pk)


def _start(operation: Operation) -> list[Step] | None:
    """Start a waiting operation if nothing holds it back. None when it goes on waiting, or has ended here instead."""
    if not _dependencies_allow(operation) or statements.has_elder(operation):
        return None
    kind = kinds()[operation.kind]
    if kind.ready is not None and kind.ready(operation):
        return None
    if not statements.start_operation(operation, None if kind.observational else operation.object_key):
        return None
    return dispatch.plan(operation, dict(enumerate(kind.stages(operation))))


def _dependencies_allow(operation: Operation) -> bool:
    """What failed counts at once, however many others are still open; the oldest failure is the cause."""
    needs = statements.needs_of(operation.pk)
    for need in needs:
        failed = need.state not in OPEN_OPERATION and need.state != OperationState.SUCCEEDED
        if failed and need.how == DependencyKind.DEPENDS_ON:
            message = need.error_message or f"{need.kind} {need.state}"
            node = need.object_key.partition("@")[2]
            if not (node and go_elsewhere(operation, UUID(node), need.error_code, message)):
                end(operation, OperationState.CANCELLED, "dependency.failed", message)
            return False
    return not any(need.state in OPEN_OPERATION for need in needs)


def _step_on(operation: Operation, near: Sequence[Step] | None = None, sending: dispatch.Sending | None = None) -> None:
    """Send, unwind or end a running operation until it waits for a node. Under its lock.

    near     its open steps as `statements.lock_operations_of` read them here, if nothing but these rows has changed since
    sending  as of `dispatch.send_stage`
    """
    known: dict[int, list[Step]] = {}
    if operation.state == OperationState.RUNNING and operation.cancel_requested_at is not None:
        _stop(operation)
    elif near is not None:
        for stage in (operation.stage, operation.stage + 1):
            known[stage] = [step for step in near if step.stage == stage and step.state in OPEN_STEP]
    while operation.state == OperationState.RUNNING:
        if dispatch.send_stage(operation, operation.stage, known.get(operation.stage), sending):
            return
        if not _next_stage(operation):
            end(operation, OperationState.SUCCEEDED)
            return
    if operation.state == OperationState.UNWINDING and undo.is_finished(operation):
        cancelled = operation.cancel_requested_at is not None
        state = OperationState.CANCELLED if cancelled else OperationState.FAILED
        end(operation, state, operation.error_code, operation.error_message)


def _next_stage(operation: Operation) -> bool:
    """Move on to the next stage, with the progress that this makes. False when there is none."""
    if not statements.enter_next_stage(operation):
        return False
    entered = kinds()[operation.kind].entered
    if entered is not None:
        entered(operation, operation.stage)
    return True


def _stop(operation: Operation) -> None:
    """A running operation was asked to stop: unwind, or, where nothing can be undone, end once no step is out.

    One that had nothing left to send was asked too late: it ends as it would have.
    """
    kind = kinds()[operation.kind]
    if kind.committed is not None and kind.committed(operation):
        return
    if kind.retract is not None:
        fail(operation, "cancelled", "cancelled while it ran")
        return
    Step.objects.filter(operation=operation, state=StepState.PLANNED).update(
        state=StepState.OBSOLETE, finished_at=UtcNow(), reason="cancelled"
    )
    steps = Step.objects.filter(operation=operation)
    dropped = steps.filter(state=StepState.OBSOLETE, reason="cancelled")
    if dropped.exists() and not steps.filter(state__in=OPEN_STEP).exists():
        end(operation, OperationState.CANCELLED, "cancelled", "cancelled while it ran")


def _tell(
    operation: Operation,
    message: str,
    *,
    extra: dict[str, Any] | None = None,
) -> None:
    """An event on the operation and its targets."""
    facts = {"operation": str(operation.pk), "kind": operation.kind, **(extra or {})}
    events.record_on(operation, "audit", message, extra=facts)

"""Why an operation waits, as a function of the rows: one sentence, and the same as data (DESIGN: rule 8)."""

from typing import Any

from sftasks import dispatch
from sftasks.operation import kinds
from sfweb.models import Operation, OperationDependency, Step
from sfweb.models.state import OPEN_OPERATION, OPEN_STEP, OperationState, StepState


def why(operation: Operation) -> dict[str, Any]:
    """{"sentence": …} with what it waits for; for an ended operation how it ended."""
    if operation.state not in OPEN_OPERATION:
        return _ended(operation)
    if operation.state == OperationState.WAITING:
        return _waiting(operation)
    return _running(operation)


def _ended(operation: Operation) -> dict[str, Any]:
    cause = f": {operation.error_code} {operation.error_message}".rstrip() if operation.error_code else ""
    return {"sentence": f"{operation.state}{cause}", "code": operation.error_code}


def _waiting(operation: Operation) -> dict[str, Any]:
    edge = (
        OperationDependency.objects.filter(operation=operation, needs__state__in=OPEN_OPERATION)
        .select_related("needs")
        .order_by("needs__created_at")
        .first()
    )
    if edge:
        needs = edge.needs
        return {
            "sentence": f"waits for {needs.kind} {needs.pk}, which is {needs.state}",
            "dependency": str(needs.pk),
            "next": why(needs),
        }
    holder = Operation.objects.filter(running_key=operation.object_key).first()
    if holder:
        since = f"{holder.started_at:%H:%M:%S} UTC"
        return {
            "sentence": f"waits for {operation.object_key}, which {holder.kind} {holder.pk} works on since {since}",
            "key": operation.object_key,
            "holder": str(holder.pk),
            "next": why(holder),
        }
    elder = Operation.objects.filter(object_key=operation.object_key, state=OperationState.WAITING)
    first = elder.filter(created_at__lt=operation.created_at).order_by("created_at").first()
    if first:
        return {
            "sentence": f"waits for its turn after {first.kind} {first.pk}",
            "key": operation.object_key,
            "holder": str(first.pk),
        }
    ready = kinds()[operation.kind].ready
    reason = ready(operation) if ready else ""
    return {"sentence": reason or "is about to start"}


def _running(operation: Operation) -> dict[str, Any]:
    steps = Step.objects.filter(operation=operation, state__in=OPEN_STEP).select_related("node__credential")
    step = steps.order_by("stage", "pk").first()
    if step is None:
        return {"sentence": "is about to go on"}
    facts = {
        "step": str(step.pk),
        "action": step.action,
        "node": step.node.name,
        "attempt": step.attempt,
        "state": step.state,
        "node_last_seen": step.node.last_seen.timestamp() if step.node.last_seen else None,
    }
    if step.state == StepState.SENT:
        silence = f"; node silent since {step.node.last_seen:%H:%M:%S} UTC" if dispatch.is_silent(step.node) else ""
        facts["sent"] = step.sent_at.timestamp() if step.sent_at else None
        facts["deadline"] = step.deadline.timestamp() if step.deadline else None
        since = f"{step.sent_at:%H:%M:%S}" if step.sent_at else "now"
        where = f"{step.action} on {step.node.name}, attempt {step.attempt}"
        return {"sentence": f"waits for {where}, sent at {since} UTC{silence}", **facts}
    return {"sentence": f"waits to send {step.action} to {step.node.name}: {_why_planned(step)}", **facts}


def _why_planned(step: Step) -> str:
    reason = dispatch.why_not(step.node, step, silent=dispatch.is_silent(step.node))
    if reason:
        return reason
    if step.not_before is not None and step.reason:
        return f"next attempt at {step.not_before:%H:%M:%S} UTC because of {step.reason}"
    if not dispatch.room(step.node_id, step.bulk):
        return "the node's queue is full"
    return step.reason or "it is next"

"""Why an operation waits, as a function of the rows: one sentence, and the same as data (DESIGN: rule 8).

`waits_for` says which of these it is, and each brings its own members:

    dependency   dependency, next               another operation must end first; `next` is why that one waits
    key          key, holder {uuid, kind, state, since}, next    one works on the same object
    turn         key, holder                    an older one on the same object comes first
    time         at                             it is put off so that more of the same can join it
    object       -                              what its kind waits for is in the sentence
    node         step, silent, last_seen        its node does not answer or cannot take the step
    retry        step, at, because              the next attempt of a step
    room         step                           the node's queue is full
    step         step                           the node works on it
    nothing      -                              it is about to go on
    ended        code                           it has ended; the sentence says how

What was tried on other nodes before is told in `refused`, [{node, code, message}], and in `nowhere` why no further one was.

A step is {uuid, action, node, object, state, attempt, sent, deadline, node_last_seen}; moments are seconds since 1970.
"""

import datetime
from typing import Any

from sftasks import dispatch, statements, turns
from sftasks.operation import kinds
from sfweb.models import Node, Operation, OperationDependency, Step
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, OPEN_STEP, OperationState, StepState

DEEPEST = 10
"""So many explanations inside each other at most; chains of operations are short."""


def why(operation: Operation, depth: int = 0) -> dict[str, Any]:
    """{"sentence": …, "waits_for": …} and what belongs to it."""
    if operation.state not in OPEN_OPERATION:
        told = _ended(operation)
    elif operation.state == OperationState.WAITING:
        told = _waiting(operation, depth)
    else:
        told = _running(operation)
    return told | _tried(operation)


def _tried(operation: Operation) -> dict[str, Any]:
    refused = operation.params.get("refused")
    if not refused:
        return {}
    rows = Node.objects.filter(pk__in=[each["node"] for each in refused])
    names = {str(node): name for node, name in rows.values_list("pk", "name")}
    told = [{**each, "node": names[each["node"]]} for each in refused]
    return {"refused": told, "nowhere": operation.params.get("nowhere", "")}


def _ended(operation: Operation) -> dict[str, Any]:
    cause = f": {operation.error_code} {operation.error_message}".rstrip() if operation.error_code else ""
    return {"sentence": f"{operation.state}{cause}", "waits_for": "ended", "code": operation.error_code}


def _waiting(operation: Operation, depth: int) -> dict[str, Any]:
    edges = OperationDependency.objects.filter(operation=operation, needs__state__in=OPEN_OPERATION)
    edge = edges.select_related("needs").order_by("needs__created_at").first()
    if edge:
        needs = edge.needs
        sentence = f"waits for {needs.kind} {needs.pk}, which is {needs.state}"
        return {
            "sentence": sentence,
            "waits_for": "dependency",
            "dependency": str(needs.pk),
            **_next(needs, depth),
        }
    holder = Operation.objects.filter(running_key=operation.object_key).first()
    if holder:
        since = f"{holder.started_at:%H:%M:%S} UTC"
        sentence = f"waits for {operation.object_key}, which {holder.kind} {holder.pk} works on since {since}"
        return {"sentence": sentence, "waits_for": "key", **_held(operation, holder), **_next(holder, depth)}
    elder = Operation.objects.filter(object_key=operation.object_key, state=OperationState.WAITING)
    first = elder.filter(created_at__lt=operation.created_at).order_by("created_at").first()
    if first:
        sentence = f"waits for its turn after {first.kind} {first.pk}"
        return {"sentence": sentence, "waits_for": "turn", **_held(operation, first)}
    at = operation.not_before
    if at is not None and Operation.objects.filter(pk=operation.pk, not_before__gt=UtcNow()).exists():
        sentence = f"starts at {at:%H:%M:%S} UTC, so that more of the same can join it"
        return {"sentence": sentence, "waits_for": "time", "at": _moment(at)}
    ready = kinds()[operation.kind].ready
    reason = ready(operation) if ready else ""
    if reason:
        return {"sentence": reason, "waits_for": "object"}
    return {"sentence": "is about to start", "waits_for": "nothing"}


def _held(operation: Operation, holder: Operation) -> dict[str, Any]:
    since = _moment(holder.started_at or holder.created_at)
    told = {"uuid": str(holder.pk), "kind": holder.kind, "state": holder.state, "since": since}
    return {"key": operation.object_key, "holder": told}


def _next(operation: Operation, depth: int) -> dict[str, Any]:
    return {"next": why(operation, depth + 1)} if depth < DEEPEST else {}


def _running(operation: Operation) -> dict[str, Any]:
    steps = Step.objects.filter(operation=operation, state__in=OPEN_STEP).select_related("node__credential")
    step = steps.order_by("stage", "pk").first()
    if step is None:
        return {"sentence": "is about to go on", "waits_for": "nothing"}
    silent = dispatch.is_silent(step.node)
    told = {"step": _step(step)}
    if step.state == StepState.PLANNED:
        reason, facts = _why_planned(step, silent)
        return {"sentence": f"waits to send {step.action} to {step.node.name}: {reason}", **facts, **told}
    since = f"{step.sent_at:%H:%M:%S}" if step.sent_at else "now"
    sentence = f"waits for {step.action} on {step.node.name}, attempt {step.attempt}, sent at {since} UTC"
    if silent and step.node.last_seen:
        sentence += f"; node silent since {step.node.last_seen:%H:%M:%S} UTC"
        return {"sentence": sentence, "waits_for": "node", **_node(step, silent), **told}
    return {"sentence": sentence, "waits_for": "step", **told}


def _why_planned(step: Step, silent: bool) -> tuple[str, dict[str, Any]]:
    reason = dispatch.why_not(step.node, step, silent=silent)
    if reason:
        return reason, {"waits_for": "node", **_node(step, silent)}
    if step.not_before is not None and step.reason:
        sentence = f"next attempt at {step.not_before:%H:%M:%S} UTC because of {step.reason}"
        return sentence, {"waits_for": "retry", "at": _moment(step.not_before), "because": step.reason}
    sent = statements.queues(step.node_id)[step.bulk].sent
    if not turns.has_room(sent, step.bulk):
        return "the node's queue is full", {"waits_for": "room"}
    if not turns.has_room(sent, step.bulk, step.lane):
        return "its namespace has as many steps at the node as one may have", {"waits_for": "room"}
    return step.reason or "it is next", {"waits_for": "nothing"}


def _node(step: Step, silent: bool) -> dict[str, Any]:
    return {"silent": silent, "last_seen": _moment(step.node.last_seen)}


def _step(step: Step) -> dict[str, Any]:
    return {
        "uuid": str(step.pk),
        "action": step.action,
        "node": step.node.name,
        "object": f"{step.object_type}:{step.object_uuid}",
        "state": step.state,
        "attempt": step.attempt,
        "sent": _moment(step.sent_at),
        "deadline": _moment(step.deadline),
        "node_last_seen": _moment(step.node.last_seen),
    }


def _moment(moment: datetime.datetime | None) -> float | None:
    return moment.timestamp() if moment else None

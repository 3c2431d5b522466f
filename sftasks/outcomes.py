"""What each kind of outcome does to its step: one table (EN-9). Part of the engine; the operation is locked by the caller."""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Case, Value, When

from nodeagent.action import Action, actions
from nodeagent.wire import Kind as OutcomeKind
from nodeagent.wire import Outcome, dump
from sftasks.operation import kinds, served
from sfweb.domain import events
from sfweb.models import NodeObject, Operation, Step, Wanted
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import StepState, transition

BACKOFF_SECONDS = (1, 2, 5, 15, 30, 60)
UNSUPPORTED_SECONDS = 60
MAX_STALE = 5
LONGEST_WAIT_SECONDS = 3600.0
LARGEST_GENERATION = 2**53
"""What a node says it has seen raises the object's own row; beyond this it would soon leave no room for a next one."""


class Verdict(enum.Enum):
    """What the operation does next."""

    GO_ON = "go on"
    FAIL = "fail"
    PARK = "park"


class Settled(NamedTuple):
    """How many outcomes were taken, and how many steps their node was sent at once in their place."""

    taken: int
    sent: int


GONE = Case(When(wanted=Wanted.ABSENT, then=Value(Wanted.ABSENT)), default=None)


def apply(operation: Operation, step: Step, outcome: Outcome) -> Verdict:
    """Write the outcome to the step, and say what it means for the operation."""
    action = actions()[step.action]
    verdict = TABLE[outcome.kind](operation, step, outcome, action)
    if verdict != Verdict.GO_ON and step.purpose == "undo":
        # a wish that cannot be taken back now stays a residue; the operation does not wait for it
        return Verdict.GO_ON
    return verdict


def tell_late(node: UUID, late: Sequence[Outcome]) -> None:
    """Outcomes that no open step waited for: each is an event, and nothing else."""
    by_token = {outcome.token: outcome for outcome in late}
    steps = Step.objects.select_related("operation").filter(node=node, token__in=by_token)
    for step in steps:
        outcome = by_token[str(step.token)]
        facts = {"operation": str(step.operation_id), "step": str(step.pk), "kind": outcome.kind, "code": outcome.code}
        events.record_on(step.operation, "audit", "late outcome ignored", extra=facts)


def confirm(step: Step, outcome: Outcome) -> None:
    """The node holds what the step's generation said: an older confirmation never overwrites a newer one.

    That it held nothing says nothing any more when the object is wanted again: it may be told to make it at any moment,
    and whoever asks what may be there then must not hear that it is gone.
    """
    kind = served()[step.object_type]
    if step.action not in (kind.ensure, kind.remove):
        return
    NodeObject.objects.filter(
        node_id=step.node_id,
        object_type=step.object_type,
        object_uuid=step.object_uuid,
        applied_generation__lte=step.generation,
    ).update(
        applied_generation=step.generation,
        applied_wanted=Value(Wanted.PRESENT) if step.action == kind.ensure else GONE,
        seq=outcome.seq,
        absences=0,
        error=None,
        confirmed_at=UtcNow(),
    )


def _done(operation: Operation, step: Step, outcome: Outcome, action: Action) -> Verdict:
    transition(step, StepState.DONE, outcome=dump(outcome), finished_at=UtcNow(), reason="")
    confirm(step, outcome)
    return Verdict.GO_ON


def facts(operation: Operation, action: str) -> Mapping[str, Any] | None:
    """What the node said when it had last done the action for the operation; None when it has not."""
    steps = Step.objects.filter(operation=operation, action=action, purpose="do", state=StepState.DONE)
    step = steps.order_by("-stage").first()
    return None if step is None else (step.outcome or {}).get("result", {})


def _retry(operation: Operation, step: Step, outcome: Outcome, action: Action) -> Verdict:
    if step.failures >= action.retries:
        return _refused(operation, step, outcome, action)
    ladder = action.backoff or BACKOFF_SECONDS
    backoff = ladder[min(step.failures, len(ladder) - 1)] * settings.TIME_SCALE
    wait = min(max(0.0, outcome.after), LONGEST_WAIT_SECONDS) if outcome.after is not None else backoff
    if action.backoff:
        wait = max(wait, backoff)
        _tell_deferral(operation, step, outcome, wait)
    _again(step, wait, outcome, failures=step.failures + 1)
    return Verdict.GO_ON


def _tell_deferral(operation: Operation, step: Step, outcome: Outcome, wait: float) -> None:
    """Whoever waits for the operation's objects sees why, and until when (FR-2)."""
    why = {"code": outcome.code, "message": outcome.message, "after": wait, "failures": step.failures + 1}
    events.record_on(operation, "status", f"{step.action} deferred", extra=why)


def _refused(operation: Operation, step: Step, outcome: Outcome, action: Action) -> Verdict:
    if _is_looked_into(operation, step):
        return _end_for_now(step, outcome)
    mend = kinds()[operation.kind].mend
    if step.purpose == "do" and mend is not None and step.failures < action.retries and mend(operation, step, outcome):
        _again(step, 0, outcome, failures=step.failures + 1)
        return Verdict.GO_ON
    _fail(step, outcome)
    return Verdict.FAIL


def _is_looked_into(operation: Operation, step: Step) -> bool:
    return step.purpose == "do" and step.action in kinds()[operation.kind].finds_out


def _end_for_now(step: Step, outcome: Outcome) -> Verdict:
    """What it has done is found out by a later stage of the operation (EN-8)."""
    transition(step, StepState.DONE, outcome=dump(outcome), finished_at=UtcNow(), reason=outcome.code[:255])
    return Verdict.GO_ON


def _unknown(operation: Operation, step: Step, outcome: Outcome, action: Action) -> Verdict:
    if _is_looked_into(operation, step):
        if action.once:
            return _end_for_now(step, outcome)
        _again(step, BACKOFF_SECONDS[-1] * settings.TIME_SCALE, outcome)
        return Verdict.GO_ON
    if not action.once and step.unknowns == 0:
        _again(step, BACKOFF_SECONDS[0] * settings.TIME_SCALE, outcome, unknowns=1)
        return Verdict.GO_ON
    _fail(step, outcome)
    return Verdict.PARK


def _stale(operation: Operation, step: Step, outcome: Outcome, action: Action) -> Verdict:
    """Rendered again at once and not counted as a failure; the rows move above what the node knows (EN-2).

    What is done once may have been done by the journal that is gone: nobody knows (EN-8).
    """
    if action.once and outcome.code == "incarnation":
        return _unknown(operation, step, outcome, action)
    if step.stales + 1 >= MAX_STALE:
        _fail(step, outcome)
        return Verdict.PARK
    if outcome.generation is not None and outcome.generation < LARGEST_GENERATION:
        served()[step.object_type].advance(step.object_uuid, step.node_id, outcome.generation)
    _again(step, 0, outcome, stales=step.stales + 1)
    return Verdict.GO_ON


def _unsupported(operation: Operation, step: Step, outcome: Outcome, action: Action) -> Verdict:
    _again(step, UNSUPPORTED_SECONDS * settings.TIME_SCALE, outcome)
    return Verdict.GO_ON


def _again(step: Step, after: float, outcome: Outcome, **counters: int) -> None:
    reason = f"{outcome.kind}: {outcome.code} {outcome.message}".strip()[:255]
    due = FromNow(after) if after else None
    transition(step, StepState.PLANNED, not_before=due, outcome=dump(outcome), reason=reason, token=None, **counters)


def _fail(step: Step, outcome: Outcome) -> None:
    transition(step, StepState.FAILED, outcome=dump(outcome), finished_at=UtcNow(), reason=outcome.code[:255])
    NodeObject.objects.filter(node_id=step.node_id, object_type=step.object_type, object_uuid=step.object_uuid).update(
        error=f"{outcome.code}: {outcome.message}"[:255]
    )


TABLE: dict[OutcomeKind, Callable[[Operation, Step, Outcome, Action], Verdict]] = {
    OutcomeKind.DONE: _done,
    OutcomeKind.RETRY: _retry,
    OutcomeKind.REFUSED: _refused,
    OutcomeKind.UNKNOWN: _unknown,
    OutcomeKind.STALE: _stale,
    OutcomeKind.UNSUPPORTED: _unsupported,
}

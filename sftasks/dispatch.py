"""Handing steps to nodes: rendered when the attempt is made, sent once, copied when the node's report shows a loss.

Part of the engine. A step leaves here in two ways: as a Celery message (the doorbell), or in the answer to a node's
report. Both carry the same signed message, and a copy repeats token and request byte for byte (EN-3).
"""

import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F

from nodeagent.action import actions
from nodeagent.wire import StepMessage, dump, load
from sftasks import celery, statements, turns, wishes
from sftasks.operation import PlannedStep, served
from sfweb.domain import events
from sfweb.domain.rows import insert
from sfweb.domain.transactions import durable
from sfweb.models import Node, NodeCredential, Operation, Step
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.operation import OF_THE_CLUSTER
from sfweb.models.state import OPEN_STEP, OperationState, State, StepState, transition

LOST_AFTER_SECONDS = 10.0
HELD_SECONDS = 90.0
PUT_OFF_SECONDS = 30.0
log = logging.getLogger(__name__)


def plan(operation: Operation, stages: Mapping[int, Sequence[PlannedStep]], purpose: str = "do") -> list[Step]:
    """Insert the stages' steps, still without requests."""
    rows = [
        Step(
            operation=operation,
            stage=stage,
            purpose=purpose,
            node_id=step.node,
            action=step.action,
            object_type=step.object_type,
            object_uuid=step.object_uuid,
            arguments=dict(step.arguments),
            bulk=actions()[step.action].bulk,
            lane=operation.namespace_id or OF_THE_CLUSTER,
            priority=operation.priority,
            asked_at=operation.created_at,
        )
        for stage, steps in stages.items()
        for step in steps
    ]
    insert(rows)
    return rows


class Sending:
    """What one transaction sends. After its commit all of it is rung for at once, before whatever else is done then."""

    def __init__(self) -> None:
        self._doors: dict[uuid.UUID, statements.Door] = {}
        self._lines: dict[tuple[uuid.UUID, bool], turns.Line] = {}
        self._messages: list[tuple[StepMessage, bool]] = []
        transaction.on_commit(lambda: celery.ring(self._messages))

    def send(self, steps: Sequence[Step]) -> None:
        """Those of the planned steps, of a stage that has begun, whose turn it is."""
        self._doors.update(statements.doors({step.node_id for step in steps} - self._doors.keys()))
        for step in steps:
            door = self._doors[step.node_id]
            message = send(step, door) if self._may_go(step, door.sent[step.bulk]) else None
            if message:
                door.sent[step.bulk] += 1
                self._messages.append((message, step.bulk))
                if line := self._lines.get((step.node_id, step.bulk)):
                    line.note_sent(step)

    def sent_to(self, node: uuid.UUID) -> int:
        """How many steps."""
        return sum(message.node == str(node) for message, _ in self._messages)

    def _may_go(self, step: Step, sent: int) -> bool:
        """While the node has fewer than one lane may have, nobody waits. Then it is a matter of turns: an operation of many
        stages would else keep its place in the queue for itself (EN-10).
        """
        if sent >= 2 * turns.THREADS[step.bulk]:
            return False
        if sent < turns.OF_ONE_LANE[step.bulk]:
            return True
        key = (step.node_id, step.bulk)
        if key not in self._lines:
            self._lines[key] = turns.Line(*key)
        return self._lines[key].is_turn_of(step)


def send_stage(
    operation: Operation, stage: int, known: Sequence[Step] | None = None, sending: Sending | None = None
) -> int:
    """Send what is due of the stage and ring after commit. Returns how many of its steps are open. Under the operation's lock.

    known    the stage's open steps, where this transaction has locked and read them already
    sending  what else this transaction sends
    """
    steps = known
    if steps is None:
        steps = list(Step.objects.select_for_update().filter(operation=operation, stage=stage, state__in=OPEN_STEP))
    due = [step for step in steps if step.state == StepState.PLANNED and _is_due(step)]
    (sending or Sending()).send(due)
    return sum(step.state in OPEN_STEP for step in steps)


def send(step: Step, door: statements.Door) -> StepMessage | None:
    """Render the step and mark it sent. None, with the step's `reason` or end written, when it must wait or is not wanted."""
    node = door.node
    reason = why_not(node, step, silent=door.silent)
    if reason and _is_wanted(step):
        if step.reason != reason:
            Step.objects.filter(pk=step.pk).update(reason=reason)
        return None
    rendered = None if reason else _render(step)
    if rendered is None:
        transition(step, StepState.OBSOLETE, finished_at=UtcNow(), reason="no longer wanted")
        return None
    generation, request = rendered
    message = StepMessage(
        token=str(uuid.uuid4()),
        node=str(node.pk),
        incarnation=node.credential.incarnation or "",
        action=step.action,
        version=actions()[step.action].version,
        object_key=f"{step.object_type}:{step.object_uuid}",
        generation=generation,
        request=request,
    ).signed(node.credential.signing_key)
    transition(
        step,
        StepState.SENT,
        token=message.token,
        request=dump(message),
        generation=generation,
        attempt=step.attempt + 1,
        reason="",
        sent_at=UtcNow(),
        first_sent_at=UtcNow() if step.first_sent_at is None else F("first_sent_at"),
        deadline=FromNow(HELD_SECONDS * settings.TIME_SCALE),
    )
    return message


def why_not(node: Node, step: Step, *, silent: bool) -> str:
    """Why nothing can be sent to this node for this step now; empty when it can."""
    credential: NodeCredential = node.credential
    if node.state == State.DELETED:
        return "node was deleted"
    if credential.incarnation is None:
        return "node has not reported yet"
    if credential.seen_incarnation != credential.incarnation:
        return "node came back with another journal: an operator must accept it"
    if silent:
        return f"node silent since {node.last_seen:%Y-%m-%d %H:%M:%S} UTC"
    if node.state == State.MISSING and not is_absence(step):
        return "node is missing until it has confirmed what it left behind"
    known = node.actions.get(step.action)
    if known != actions()[step.action].version:
        return f"agent does not know {step.action} version {actions()[step.action].version}"
    return ""


def is_silent(node: Node) -> bool:
    """True when the node has not reported for the silence period, by the database's clock."""
    silence = FromNow(-settings.NODE_SILENT_SECONDS)
    return not Node.objects.filter(pk=node.pk, last_seen__gt=silence).exists()


def ceiling(action: str) -> float:
    """Seconds after which the node is asked to give the action up (EN-4)."""
    return actions()[action].max_seconds


def note_progress(node: uuid.UUID, token: str, percent: int) -> None:
    """A running step's own progress, shown as the operation's while it has no more than one stage left."""
    steps = Step.objects.filter(node_id=node, token=token, state=StepState.SENT).select_related("operation")
    step = steps.first()
    if step is None:
        return
    rows = Operation.objects.filter(pk=step.operation_id, state=OperationState.RUNNING, progress__lt=percent)
    if (
        rows.update(progress=percent, progressed_at=UtcNow())
        and step.bulk
        and percent // 10 > step.operation.progress // 10
    ):
        # Of a transfer, every tenth part of it (EV-19).
        events.record_on(step.operation, "status", f"{step.operation.kind} at {percent} %")


def hand_out(node: Node, held: Collection[str]) -> list[StepMessage]:
    """What the node is to do next: copies of what its report shows to be lost, then planned steps that are due (EN-4)."""
    return _lost(node, held) + fill(node.pk)[0]


def fill(node: uuid.UUID) -> tuple[list[StepMessage], bool]:
    """Send planned steps as far as the node's queues have room. Also tells whether any step is open there."""
    queues = statements.queues(node)
    chosen = [pk for bulk, queue in queues.items() for pk in turns.next_due(node, bulk, queue)]
    return [message for pk in chosen if (message := try_to_send(pk)) is not None], bool(queues)


@durable
def send_one(step_pk: uuid.UUID) -> StepMessage | None:
    """Send one planned step by itself, under its operation's lock. None when somebody else has, or it cannot go now."""
    found = Step.objects.filter(pk=step_pk).values("operation_id").first()
    if found is None:
        return None
    operation = Operation.objects.select_for_update().get(pk=found["operation_id"])
    step = Step.objects.select_for_update().get(pk=step_pk)
    if step.state != StepState.PLANNED or not _is_current(operation, step):
        return None
    return send(step, statements.doors([step.node_id])[step.node_id])


def try_to_send(step_pk: uuid.UUID) -> StepMessage | None:
    """`send_one` for one of many: a step that cannot be rendered waits, says why, and keeps no other back (RO-12)."""
    try:
        return send_one(step_pk)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("step cannot be sent", extra={"step": str(step_pk)})
        reason = f"cannot be sent: {type(error).__name__}: {error}"[:255]
        later = FromNow(PUT_OFF_SECONDS * settings.TIME_SCALE)
        Step.objects.filter(pk=step_pk, state=StepState.PLANNED).update(reason=reason, not_before=later)
        return None


def _is_current(operation: Operation, step: Step) -> bool:
    if step.purpose == "undo":
        return operation.state == OperationState.UNWINDING
    return operation.state == OperationState.RUNNING and step.stage == operation.stage


def _is_due(step: Step) -> bool:
    return step.not_before is None or Step.objects.filter(pk=step.pk, not_before__lte=UtcNow()).exists()


def is_absence(step: Step) -> bool:
    """True when the step takes something away from its node."""
    return actions()[step.action].wanted == "absent"


def _lost(node: Node, held: Collection[str]) -> list[StepMessage]:
    """Copies of steps that were sent long enough before this report and that it does not hold: byte for byte (EN-3)."""
    old = FromNow(-LOST_AFTER_SECONDS * settings.TIME_SCALE)
    rows = Step.objects.filter(node=node, state=StepState.SENT, sent_at__lt=old).exclude(token__in=list(held))
    messages = []
    for step in rows:
        again = Step.objects.filter(pk=step.pk, state=StepState.SENT, token=step.token)
        if again.update(sent_at=UtcNow()) == 1:
            messages.append(load(StepMessage, step.request))
    return messages


def _is_wanted(step: Step) -> bool:
    """Whether the rows still want what the step does. One that waits for its node and is not wanted must not keep back the
    step that takes the thing away: the node waits for that one (EN-12).
    """
    kind = served()[step.object_type]
    if step.action not in (kind.ensure, kind.remove):
        return True
    return bool(wishes.wanted_action(step.node_id, step.object_type, step.object_uuid) == step.action)


def _render(step: Step) -> tuple[int, dict[str, Any]] | None:
    """(generation, request) as the rows are now; the generation is read first. None when they no longer want the action."""
    kind = served()[step.object_type]
    if not _is_wanted(step):
        return None
    generation = kind.generation(step.object_uuid, step.node_id)
    request = kind.requests[step.action](step.object_uuid, step.node_id, step.arguments)
    return None if request is None else (generation, request)

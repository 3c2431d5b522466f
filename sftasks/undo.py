"""Taking a wish back (EN-1): no inverse actions, only rows rendered again. Part of the engine.

Every step that was ever sent, finished or not, is followed by what the rows say once the kind has retracted its wishes:
`remove` only when nothing wants the object on that node any more, else `ensure`. Newest stage first.
"""

from django.db.models import Min

from sftasks import dispatch, wishes
from sftasks.operation import kinds
from sfweb.domain import node_life
from sfweb.models import Operation, Step
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_STEP, StepState, transition


def is_finished(operation: Operation) -> bool:
    """Drive the unwinding as far as it goes; True when every undo step has ended or its node is missing."""
    if not _settled(operation):
        return False
    if not operation.params.get("retracted"):
        _retract(operation)
    while True:
        stage = Step.objects.filter(operation=operation, purpose="undo", state__in=OPEN_STEP).aggregate(Min("stage"))[
            "stage__min"
        ]
        if stage is None:
            return True
        _give_up_on_missing(operation, stage)
        if dispatch.send_stage(operation, stage):
            return False


def _settled(operation: Operation) -> bool:
    """True when no step of the operation is still out, except on nodes that have fallen silent."""
    Step.objects.filter(operation=operation, purpose="do", state=StepState.PLANNED).update(
        state=StepState.OBSOLETE, finished_at=UtcNow()
    )
    waiting = False
    for step in Step.objects.select_related("node").filter(operation=operation, purpose="do", state=StepState.SENT):
        if dispatch.is_silent(step.node):
            transition(step, StepState.FAILED, finished_at=UtcNow(), reason="node silent while unwinding")
        else:
            waiting = True
    return not waiting


def _retract(operation: Operation) -> None:
    retract = kinds()[operation.kind].retract
    assert retract is not None, f"{operation.kind} unwinds without a way back"
    retract(operation)
    sent = Step.objects.filter(operation=operation, purpose="do", first_sent_at__isnull=False)
    newest = sent.order_by("-stage").values_list("stage", flat=True).first() or 0
    seen: set[tuple[object, str, object]] = set()
    for step in sent.order_by("-stage", "pk"):
        where = (step.node_id, step.object_type, step.object_uuid)
        if where in seen:
            continue
        seen.add(where)
        planned = wishes.step_for(step.node_id, step.object_type, step.object_uuid)
        dispatch.plan(operation, {newest - step.stage: [planned]}, purpose="undo")
    operation.params = {**operation.params, "retracted": True}
    operation.save(update_fields=["params"])


def _give_up_on_missing(operation: Operation, stage: int) -> None:
    """What a missing node has not confirmed stays a residue in the rows; the operation does not wait for it (EN-12)."""
    for step in Step.objects.filter(
        operation=operation, purpose="undo", stage=stage, state__in=OPEN_STEP, node__in=node_life.beyond_reach()
    ):
        transition(step, StepState.UNDONE, finished_at=UtcNow(), reason="node missing: left as a residue")

"""Brings the deletion of nodes with all that they have on: asks for the deletes of their instances, a page at a time."""

from functools import partial
from uuid import UUID

from sftasks import parents
from sftasks.operations import instance_delete
from sftasks.passes import one_of_many
from sfweb.domain.nodes import instances_on
from sfweb.models import Operation
from sfweb.models.state import OperationState


def run() -> dict[str, int]:
    waiting = Operation.objects.filter(kind="node_delete", state=OperationState.WAITING).order_by("created_at")
    deletes = list(waiting.values_list("pk", flat=True))
    return {"asked": sum(one_of_many(partial(go_on, pk), "node cannot be emptied", node=str(pk)) for pk in deletes)}


def go_on(delete: UUID) -> int:
    """Ask for a page of the deletes that have not been asked for; how many."""
    operation = Operation.objects.filter(pk=delete, state=OperationState.WAITING).first()
    if operation is None:
        return 0
    rows = instances_on(UUID(operation.params["node"]))
    parents.tell_progress(operation, rows.count())
    return parents.ask_for(operation, rows, instance_delete.request)

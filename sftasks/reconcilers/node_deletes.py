"""Brings the deletion of nodes with all that they have on: asks for the deletes of their instances, a page at a time."""

import logging
from functools import partial
from uuid import UUID

from sftasks import parents
from sftasks.operations import instance_delete
from sftasks.passes import one_of_many
from sfweb.domain.nodes import instances_on
from sfweb.errors import Conflict, NotFound
from sfweb.models import Instance, Operation, OperationDependency
from sfweb.models.state import OperationState

log = logging.getLogger(__name__)
PAGE = 100


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
    edges = OperationDependency.objects.filter(operation=operation)
    asked = []
    for row in rows.exclude(pk__in=edges.values("needs__targets__target_uuid"))[:PAGE]:
        if not _still(operation, row):
            continue
        try:
            asked.append(instance_delete.request(parents.asker(operation), row).operation)
        except NotFound:
            continue  # it has gone by itself
        except Conflict as error:
            log.info("not yet: %s", error, extra={"uuid": str(row.pk)})
    if asked:
        parents.wait_for(delete, asked)
    return len(asked)


def _still(operation: Operation, row: Instance) -> bool:
    """A page takes its time: the deletion may have been cancelled meanwhile, and a move may have taken the instance away."""
    waiting = Operation.objects.filter(pk=operation.pk, state=OperationState.WAITING)
    return waiting.exists() and Instance.objects.filter(pk=row.pk, node=operation.params["node"]).exists()

"""What an operator decides about a node, beside deleting it."""

from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from sfweb.domain import node_life
from sfweb.domain.callers import Caller
from sfweb.domain.events import record
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotFound
from sfweb.models import Instance, Node, Operation
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, State


@durable
def cordon(caller: Caller, node: Node, cordoned: bool) -> None:
    """Let nothing new be placed on the node, or let it again. What is there stays.

    Raises NotFound for a deleted node, Conflict while it goes with all that it has: what came now would go too.
    """
    row = Node.objects.select_for_update().get(pk=node.pk)
    if not cordoned:
        operation = deletion_of(row.pk)
        if operation is not None:
            message = f"node {row.name} is being deleted with all that it has: cancel operation {operation.pk} first"
            raise Conflict(message, code="node.deleting", details={"operation": str(operation.pk)})
    set_cordoned(caller, row, cordoned)


def deletion_of(node: UUID) -> Operation | None:
    """The operation by which the node goes with all that it has, while that is open."""
    rows = Operation.objects.filter(kind="node_delete", object_key=f"node:{node}", state__in=OPEN_OPERATION)
    return rows.first()


def set_cordoned(caller: Caller, node: Node, cordoned: bool) -> None:
    """The same as a part of a transaction."""
    if node.state == State.DELETED:
        raise NotFound(f"node not found: {node.name}")
    if Node.objects.filter(pk=node.pk).exclude(cordoned=cordoned).update(cordoned=cordoned):
        verb = "cordoned" if cordoned else "uncordoned"
        record("audit", f"node {verb} by {caller}", [("node", node.uuid)], request_id=caller.request_id)


def instances_on(node: UUID) -> QuerySet[Instance]:
    """The instances that are on the node now, the oldest first."""
    return Instance.objects.filter(node_id=node).exclude(state=State.DELETED).order_by("created_at", "uuid")


def require_reporting(node: Node) -> None:
    """Raises Conflict for a node that does not answer just now, or that has yet to tidy up after its return."""
    fresh = FromNow(-settings.NODE_SILENT_SECONDS)
    if not Node.objects.filter(pk=node.pk, state__in=node_life.HERE, last_seen__gt=fresh).exists():
        raise Conflict(f"node {node.name} is {node.state} or silent: nothing can be moved away", code="node.silent")

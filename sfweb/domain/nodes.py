"""What an operator decides about a node, beside deleting it."""

from sfweb.domain.callers import Caller
from sfweb.domain.events import record
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Node
from sfweb.models.state import State


@durable
def cordon(caller: Caller, node: Node, cordoned: bool) -> None:
    """Let nothing new be placed on the node, or let it again. What is there stays. NotFound for a deleted node."""
    if node.state == State.DELETED:
        raise NotFound(f"node not found: {node.name}")
    if Node.objects.filter(pk=node.pk).exclude(cordoned=cordoned).update(cordoned=cordoned):
        verb = "cordoned" if cordoned else "uncordoned"
        record("audit", f"node {verb} by {caller}", [("node", node.uuid)], request_id=caller.request_id)

"""Forget a node that carries nothing: what is queued for it ends, and its agent is told that it is gone (CO-15, EN-12)."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Exists, OuterRef

from sftasks import engine, moves
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain import reservations
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotFound
from sfweb.models import Blob, BlobHash, BlobLocation, CarrierLease, Instance, Node, NodeObject, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, node: Node) -> Accepted:
    """Raises NotFound for a deleted node, Conflict while it has instances, networks or the only copy of a blob."""
    operation = engine.submit(
        Wish(
            kind="node_delete",
            object_key=f"node:{node.pk}",
            targets=[("node", node.pk)],
            params={"node": str(node.pk)},
            caller=caller,
        )
    )
    row = Node.objects.select_for_update().get(pk=node.pk)
    if row.state == State.DELETED:
        raise NotFound(f"node not found: {row.name}")
    placed = Instance.objects.filter(node=row).exclude(state=State.DELETED).count()
    placed += reservations.arriving(row.pk)
    carried = CarrierLease.objects.filter(node=row).count()
    alone = _only_copies(row)
    if placed or carried or alone:
        raise Conflict(
            f"node {row.name} has {placed} instances, carries {carried} networks and has the only copy of {alone} blobs",
            code="node.in_use",
            details={"instances": placed, "networks": carried, "blobs": alone},
        )
    transition(row, State.DELETED, deleted_at=UtcNow())
    return Accepted(row, operation)


def _only_copies(node: Node) -> int:
    """Living blobs that no other node has and that cannot be fetched again."""
    elsewhere = BlobLocation.objects.filter(blob=OuterRef("pk")).exclude(node=node)
    here = Blob.objects.filter(state=State.CREATED, locations__node=node).exclude(Exists(elsewhere))
    return here.exclude(source_url__startswith="http").count()


def stages(operation: Operation) -> Sequence[Stage]:
    """None: nothing is ever sent to a deleted node. The sweep ends what was queued for it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    if ended.ok:
        NodeObject.objects.filter(node_id=operation.params["node"]).delete()
        BlobLocation.objects.filter(node_id=operation.params["node"]).delete()
        BlobHash.objects.filter(node_id=operation.params["node"]).delete()
        moves.settle_all_on(UUID(operation.params["node"]))


OPERATION = Kind(name="node_delete", stages=stages, finish=finish, coalesces=True, supersedes=True)

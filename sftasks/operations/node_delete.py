"""Forget a node: what is queued for it ends, and its agent is told that it is gone (CO-15, EN-12).

A node that has something is refused, with what that is. With `cascade` it is cordoned, its instances are deleted by
operations of their own, which the reconciler `node_deletes` asks for, and it goes last. What a missing node had is given up.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from sftasks import engine, moves, parents, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain import nodes, reservations
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotFound
from sfweb.models import (
    Blob,
    BlobHash,
    BlobLocation,
    CarrierLease,
    Network,
    Node,
    NodeObject,
    Operation,
)
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition

SHOWN = 100
"""So many names of each kind in a refusal; the counts are whole."""


@durable
def request(caller: Caller, node: Node, cascade: bool = False) -> Accepted:
    """`cascade`: its instances are deleted first. Repeated while that goes on, it answers the same operation.

    Raises NotFound for a deleted node, Conflict for what it has and nothing here can take away from it.
    """
    if cascade:
        running = nodes.deletion_of(node.pk)
        if running is not None:  # joining it would make it everybody's, and then nobody could cancel it
            return Accepted(node, running)
    operation = engine.submit(
        Wish(
            kind="node_delete",
            object_key=f"node:{node.pk}",
            targets=[("node", node.pk)],
            params={
                "node": str(node.pk),
                "by": parents.whoever_asked(caller),
                "there": nodes.instances_on(node.pk).count(),
            },
            caller=caller,
        )
    )
    row = Node.objects.select_for_update().get(pk=node.pk)
    if row.state == State.DELETED:
        raise NotFound(f"node not found: {row.name}")
    if cascade:
        _require_no_others_use(row)
        nodes.set_cordoned(caller, row, True)
    else:
        _require_unused(row)
        transition(row, State.DELETED, deleted_at=UtcNow())
    return Accepted(row, operation)


def _require_unused(node: Node) -> None:
    placed, carried, alone = list(nodes.instances_on(node.pk)), _carried(node.pk), list(_only_copies(node.pk))
    coming = reservations.arriving(node.pk)
    if not (placed or carried or alone or coming):
        return
    raise Conflict(
        f"node {node.name} has {len(placed) + coming} instances, carries {len(carried)} networks and has the only copy of"
        f" {len(alone)} blobs",
        code="node.in_use",
        details={
            "instances": len(placed) + coming,
            "networks": len(carried),
            "blobs": len(alone),
            "on_it": {
                "instances": [{"uuid": str(row.pk), "name": row.name} for row in placed[:SHOWN]],
                "networks": _named(carried),
                "blobs": [str(blob.pk) for blob in alone[:SHOWN]],
            },
        },
    )


def _require_no_others_use(node: Node) -> None:
    """With `cascade` too: its networks are used by others, and what is on its way to it was not meant to be deleted.

    To a missing node nothing gets any more. A network it carries would be left without a router, and no guest of it start.
    """
    carried = _carried(node.pk)
    coming = 0 if node.state == State.MISSING else reservations.arriving(node.pk)
    if carried or coming:
        raise Conflict(
            f"node {node.name} carries {len(carried)} networks, and {coming} instances are on their way to it",
            code="node.in_use",
            details={"networks": len(carried), "arriving": coming, "on_it": {"networks": _named(carried)}},
        )


def _carried(node: UUID) -> list[Network]:
    return list(
        Network.objects.filter(pk__in=CarrierLease.objects.filter(node=node).values("network")).order_by("name")
    )


def _named(networks: Sequence[Network]) -> list[dict[str, Any]]:
    return [{"uuid": str(row.pk), "name": row.name} for row in networks[:SHOWN]]


def _only_copies(node: UUID) -> "QuerySet[Blob]":
    """Living blobs that no other node has and that cannot be fetched again."""
    elsewhere = BlobLocation.objects.filter(blob=OuterRef("pk")).exclude(node_id=node)
    mine = Blob.objects.filter(state=State.CREATED, locations__node_id=node).exclude(Exists(elsewhere))
    return mine.exclude(source_url__startswith="http")


def ready(operation: Operation) -> str:
    """Empty once nothing is left that would be lost. What a missing node has is lost already."""
    node = Node.objects.get(pk=operation.params["node"])
    if node.state == State.DELETED:
        return ""
    told = {"instances are still there": nodes.instances_on(node.pk).count()}
    if node.state != State.MISSING:
        told["objects are still being taken away"] = _held(node.pk)
        told["networks are carried by it"] = len(_carried(node.pk))
        told["blobs have their only copy there"] = _only_copies(node.pk).count()
    return ", ".join(f"{count} {what}" for what, count in told.items() if count)


def _held(node: UUID) -> int:
    """What the host would go on with: not copies of blobs, which are only files."""
    return wishes.not_gone(NodeObject.objects.filter(node_id=node).exclude(object_type="blob")).count()


def stages(operation: Operation) -> Sequence[Stage]:
    """None: nothing is ever sent to a deleted node. The sweep ends what was queued for it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    """One that was to go with all that it had and did not stays cordoned."""
    if not ended.ok:
        return
    row = Node.objects.select_for_update().get(pk=operation.params["node"])
    if row.state != State.DELETED:
        transition(row, State.DELETED, deleted_at=UtcNow())
    for held in (NodeObject, BlobLocation, BlobHash):
        held.objects.filter(node=row).delete()
    moves.settle_all_on(row.pk)


OPERATION = Kind(name="node_delete", stages=stages, finish=finish, ready=ready, coalesces=True, supersedes=True)

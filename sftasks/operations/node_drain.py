"""Empty a node: it is cordoned, then its instances move away, a few at a time.

Each move is an operation of its own, asked for by the reconciler `node_drains`; this one waits for all of them. What could
not move stays and is listed with its reason. Nothing is shut down unless that was asked for, and nobody but an operator
uncordons the node again.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from sftasks import engine, parents
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain import nodes
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import DependencyKind, Instance, Node, Operation, OperationDependency
from sfweb.models.state import OPEN_OPERATION, State


@durable
def request(caller: Caller, node: Node, cold: bool = False) -> Accepted:
    """`cold`: a guest that cannot move while it runs is shut down for it. Repeated, it answers the operation that runs.

    Raises NotFound for a deleted node, Conflict for one that does not answer.
    """
    row = Node.objects.select_for_update().get(pk=node.pk)
    if row.state == State.DELETED:
        raise NotFound(f"node not found: {row.name}")
    running = Operation.objects.filter(object_key=f"node:{row.pk}", kind="node_drain", state__in=OPEN_OPERATION)
    if (open_one := running.first()) is not None:
        return Accepted(row, open_one)
    nodes.require_reporting(row)
    nodes.set_cordoned(caller, row, True)
    operation = engine.submit(
        Wish(
            kind="node_drain",
            object_key=f"node:{row.pk}",
            targets=[("node", row.pk)],
            params={
                "node": str(row.pk),
                "cold": cold,
                "by": parents.whoever_asked(caller),
                "there": nodes.instances_on(row.pk).count(),
                "left": {},
            },
            caller=caller,
        )
    )
    row.refresh_from_db()
    return Accepted(row, operation)


def to_move(operation: Operation) -> "QuerySet[Instance]":
    """Those that are still there and that nothing is known to keep there."""
    return nodes.instances_on(UUID(operation.params["node"])).exclude(pk__in=list(operation.params["left"]))


def moves(operation: Operation) -> "QuerySet[Operation]":
    edges = OperationDependency.objects.filter(operation=operation, kind=DependencyKind.RUNS_AFTER)
    return Operation.objects.filter(pk__in=edges.values("needs_id"))


def told(left: Mapping[str, Any]) -> str:
    """One sentence about what stays."""
    return "; ".join(f"{each['name']}: {each['message']}" for each in left.values())


def ready(operation: Operation) -> str:
    """Empty once nothing is left; one with instances that have to stay is ended by the reconciler, and fails."""
    moving, left = to_move(operation).count(), len(operation.params["left"])
    return f"{moving} instances are to be moved yet, {left} have to stay" if moving or left else ""


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    """The node stays cordoned, and what has begun to move arrives."""


OPERATION = Kind(name="node_drain", stages=stages, finish=finish, ready=ready, priority=20)

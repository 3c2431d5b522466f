"""A network's router on its carrier, as the wish says. Six hundred starts on one network join into few of these (EN-20)."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import attachment
from sftasks.operation import Ended, Kind, PlannedStep, Stage, served
from sfweb.models import Network, NodeObject, Operation, Wanted
from sfweb.models.state import State


def stages(operation: Operation) -> Sequence[Stage]:
    node, network = UUID(operation.params["node"]), UUID(operation.params["network"])
    wish = NodeObject.objects.filter(node_id=node, object_type="router", object_uuid=network).first()
    action = served()["router"].action(wish.wanted if wish else Wanted.ABSENT)
    return [[PlannedStep(node=node, action=action, object_type="router", object_uuid=network)]]


def finish(operation: Operation, ended: Ended) -> None:
    """A deleted network's outside address is free once no node answers for it; a failure here marks no network."""
    if ended.ok and Network.objects.filter(pk=operation.params["network"], state=State.DELETED).exists():
        attachment.release_egress(UUID(operation.params["network"]))


OPERATION = Kind(name="router_on_node", stages=stages, finish=finish, coalesces=True, priority=15)

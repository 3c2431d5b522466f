"""One network on one node: bridge, VXLAN, peers, as the wish says. Submitted by whoever changes a wish (EN-20)."""

from collections.abc import Sequence
from uuid import UUID

from sftasks.operation import Ended, Kind, PlannedStep, Stage, served
from sfweb.models import NodeObject, Operation, Wanted


def stages(operation: Operation) -> Sequence[Stage]:
    node, network = UUID(operation.params["node"]), UUID(operation.params["network"])
    wish = NodeObject.objects.filter(node_id=node, object_type="network", object_uuid=network).first()
    action = served()["network"].action(wish.wanted if wish else Wanted.ABSENT)
    return [[PlannedStep(node=node, action=action, object_type="network", object_uuid=network)]]


def finish(operation: Operation, ended: Ended) -> None:
    """Nothing beyond the node_object, which the engine has written: a failure here marks no network."""


OPERATION = Kind(name="network_on_node", stages=stages, finish=finish, coalesces=True, priority=15)

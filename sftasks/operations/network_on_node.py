"""One network on one node: bridge, VXLAN, peers, as the wish says. Submitted by whoever changes a wish (EN-20)."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import wishes
from sftasks.operation import Ended, Kind, Stage
from sfweb.models import Operation


def stages(operation: Operation) -> Sequence[Stage]:
    node, network = UUID(operation.params["node"]), UUID(operation.params["network"])
    return [[wishes.step_for(node, "network", network)]]


def finish(operation: Operation, ended: Ended) -> None:
    """Nothing beyond the node_object, which the engine has written: a failure here marks no network."""


OPERATION = Kind(name="network_on_node", stages=stages, finish=finish, coalesces=True, priority=15)

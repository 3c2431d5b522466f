"""A network's router on its carrier, as the wish says. Six hundred starts on one network join into few of these (EN-20)."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import attachment, wishes
from sftasks.operation import Ended, Kind, Stage
from sfweb.models import Network, Operation
from sfweb.models.state import State


def stages(operation: Operation) -> Sequence[Stage]:
    node, network = UUID(operation.params["node"]), UUID(operation.params["network"])
    return [[wishes.step_for(node, "router", network)]]


def finish(operation: Operation, ended: Ended) -> None:
    """A deleted network's outside address is free once no node answers for it; a failure here marks no network."""
    if ended.ok and Network.objects.filter(pk=operation.params["network"], state=State.DELETED).exists():
        attachment.release_egress(UUID(operation.params["network"]))


OPERATION = Kind(name="router_on_node", stages=stages, finish=finish, coalesces=True, priority=15)

"""Take away what is left of a network on a node that nothing knows of any more (SR-1, SR-2, SR-5): its router, then its bridge.

The node's inventory has shown it, twice; no row says that the node should hold it or has to confirm its end. A bridge that
a stranger's device is plugged into stays (SR-3).
"""

from collections.abc import Sequence
from uuid import UUID

from sftasks import engine
from sftasks.operation import Accepted, Ended, Kind, PlannedStep, Stage, Wish
from sfweb.domain import events
from sfweb.domain.callers import CLUSTER
from sfweb.domain.transactions import durable
from sfweb.models import Node, Operation

ORDER = ("router", "network")


@durable
def request(node: Node, network: UUID, vni: int, found: Sequence[str]) -> Accepted:
    """`found`: which parts of it the node still has, `router` and `network`."""
    operation = engine.submit(
        Wish(
            kind="stray_remove",
            object_key=f"network:{network}@{node.pk}",
            targets=[("node", node.pk)],
            params={"network": str(network), "node": str(node.pk), "vni": vni, "found": list(found)},
            caller=CLUSTER,
        )
    )
    if not operation.joined:
        facts = {"network": str(network), "vni": vni, "found": list(found)}
        events.record("audit", "enqueued teardown of stray vxlan", [("node", node.pk)], extra=facts)
    return Accepted(node, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    node, network = UUID(operation.params["node"]), UUID(operation.params["network"])
    arguments = {"vni": operation.params["vni"]}
    return [
        [PlannedStep(node=node, action=f"remove_{part}", object_type=part, object_uuid=network, arguments=arguments)]
        for part in ORDER
        if part in operation.params["found"]
    ]


def finish(operation: Operation, ended: Ended) -> None:
    message = "reaped stray vxlan" if ended.ok else f"stray vxlan stays: {ended.code} {ended.message}"
    facts = {"network": operation.params["network"], "vni": operation.params["vni"]}
    events.record("audit", message, [("node", UUID(operation.params["node"]))], extra=facts)


OPERATION = Kind(name="stray_remove", stages=stages, finish=finish, coalesces=True, priority=30)

"""A network on its nodes and its router on its carrier: who has to learn of a change, and when (EN-20).

Called inside the transactions of operations: writes wishes and generations, submits the one-step operations that serve
them, and says which of those the caller has to wait for. The rest is put off, so that a burst of changes is told once.
"""

import datetime
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, F, OuterRef

from sftasks import engine, statements, wishes
from sftasks.plans import networks, routers
from sfweb.domain import carriers, node_life
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.models import Network, NodeObject, Operation, Step, Wanted
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, OperationState, StepState

PEERS_SECONDS = 2.0
"""So long news for the nodes that hold a network gather before they are sent: a guest takes longer until it talks."""


def bring_network(network: Network, node: UUID, caller: Caller) -> list[Operation]:
    """The network on the node and its guest known to the carrier; the operations that an instance there must wait for.

    The network must have been read under its lock. Nobody waits for the other nodes that hold it: what they learn of a
    new member is put off and joined (`tell_peers`).
    """
    return bring_network_to(network, [node], caller)[node]


def bring_network_to(network: Network, nodes: Sequence[UUID], caller: Caller) -> dict[UUID, list[Operation]]:
    """As `bring_network` for instances on several nodes: what those on each must wait for."""
    is_new = [wishes.want(node, "network", network.pk) for node in sorted(nodes)]
    network.router_generation += 1
    network.mesh_generation += any(is_new)
    news = {"peers_due_at": _due(network)} if any(is_new) else {}
    Network.objects.filter(pk=network.pk).update(
        router_generation=network.router_generation, mesh_generation=network.mesh_generation, **news
    )
    carrier = carriers.carrier_of(network.pk)
    told = _spread(network, {*nodes} if carrier is None else {*nodes, carrier}, caller, gathers=True)
    needed = {node: [operation for holder, operation in told.items() if holder in (node, carrier)] for node in nodes}
    if carrier is not None:
        router = serve(network, carrier, caller, gathers=True)
        for node in nodes:
            needed[node].append(router)
    return needed


def bring_mesh(network: Network, node: UUID, caller: Caller) -> list[Operation]:
    """The network on the node, without a word to its router: for a running guest, which the carrier knows already.

    Here the other nodes learn of it at once, as the guest talks from the moment that it arrives.
    """
    network.mesh_generation += wishes.want(node, "network", network.pk)
    Network.objects.filter(pk=network.pk).update(mesh_generation=network.mesh_generation)
    told = _spread(network, wishes.holders("network", network.pk), caller)
    here = {node, carriers.carrier_of(network.pk)}
    return [operation for holder, operation in told.items() if holder in here]


def tell_peers(network: Network) -> int:
    """The nodes that hold the network learn what changed about its members; how many. Call under its row's lock."""
    Network.objects.filter(pk=network.pk).update(peers_due_at=None)
    rows = NodeObject.objects.filter(
        object_type="network", object_uuid=network.pk, wanted=Wanted.PRESENT, node__state__in=node_life.HERE
    )
    told = Step.objects.filter(
        node=OuterRef("node"),
        object_uuid=network.pk,
        action="ensure_network",
        state=StepState.SENT,
        generation__gte=network.mesh_generation,
    )
    holders = rows.exclude(Exists(told)).order_by("node_id").values_list("node_id", flat=True)
    return len(_spread(network, list(holders), CLUSTER, gathers=True))


def refresh(network: Network, caller: Caller) -> list[Operation]:
    """Something that the network's router is rendered from has changed; the operation that tells its carrier, if it has one.

    The network must have been read under its lock.
    """
    Network.objects.filter(pk=network.pk).update(router_generation=F("router_generation") + 1)
    carrier = carriers.carrier_of(network.pk)
    return [] if carrier is None else [serve(network, carrier, caller)]


def serve(network: Network, carrier: UUID, caller: Caller, *, gathers: bool = False) -> Operation:
    """The operation that brings the carrier's router up to date, after the network itself on that node."""
    wishes.want(carrier, "router", network.pk)
    router = engine.submit(routers.on_carrier(network, carrier, caller, gathers=gathers))
    bridge = Operation.objects.filter(
        object_key=f"network:{network.pk}@{carrier}", kind="network_on_node", state__in=OPEN_OPERATION
    )
    if router.state == OperationState.WAITING and not router.joined:
        engine.depend(router, bridge)
    return router


def retire(network: Network, nodes: Iterable[UUID], caller: Caller) -> list[Operation]:
    """Take the network away from `nodes`; the operations of those that lose it. Those that are left learn it a little later."""
    leaving = set(nodes)
    for node in leaving:
        wishes.retract(node, "network", network.pk)
    Network.objects.filter(pk=network.pk).update(mesh_generation=F("mesh_generation") + 1, peers_due_at=_due(network))
    held = [node for node in wishes.lingering("network", network.pk) if node in leaving]
    return [engine.submit(networks.on_node(network, node, caller)) for node in held]


def _due(network: Network) -> datetime.datetime | FromNow:
    """When the peers learn of the news in this transaction: with what they are to learn already, or a moment from now."""
    return network.peers_due_at or FromNow(PEERS_SECONDS * settings.TIME_SCALE)


def _spread(
    network: Network, nodes: Collection[UUID], caller: Caller, *, gathers: bool = False
) -> dict[UUID, Operation]:
    """Those of the nodes that hold the network and do not know the mesh as it is now, each with its operation."""
    return {
        holder: engine.submit(networks.on_node(network, holder, caller, gathers=gathers))
        for holder in statements.behind("network", network.pk, network.mesh_generation, nodes)
    }

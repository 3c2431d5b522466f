"""A network's bridge and mesh on a node: what is rendered, and which operations bring it there (EN-20)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Greatest

from nodeagent.specs import NetworkSpec
from nodeagent.wire import dump
from sftasks import statements, wishes
from sftasks.operation import Served, Wish
from sfweb.domain.callers import Caller
from sfweb.models import Network, Node


def on_node(network: Network, node: UUID, caller: Caller, *, gathers: bool = False) -> Wish:
    """The operation that brings node and wish together; joined when an equal one waits."""
    return Wish(
        kind="network_on_node",
        object_key=f"network:{network.pk}@{node}",
        targets=[("network", network.pk), ("node", node)],
        params={"network": str(network.pk), "node": str(node)},
        caller=caller,
        namespace=network.namespace_id,
        gathers=gathers,
    )


def peers(network: UUID, node: UUID) -> tuple[str, ...]:
    """Mesh addresses of the other nodes that hold the network."""
    others = [holder for holder in wishes.holders("network", network) if holder != node]
    rows = Node.objects.filter(pk__in=others, mesh_address__isnull=False).order_by("mesh_address")
    return tuple(address for address in rows.values_list("mesh_address", flat=True) if address)


def _generation(network: UUID, node: UUID) -> int:
    return statements.generation("networks", "mesh_generation", network) or wishes.FOR_EVER


def _advance(network: UUID, node: UUID, above: int) -> None:
    Network.objects.filter(pk=network).update(mesh_generation=Greatest(F("mesh_generation"), above) + 1)


def _present(network: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any]:
    vni = Network.objects.values_list("vni", flat=True).get(pk=network)
    assert vni is not None, "only the floating network has no VNI, and no node holds it"
    return {"spec": dump(NetworkSpec(network=str(network), vni=vni, peers=peers(network, node)))}


def absent(network: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any]:
    vni = arguments.get("vni") or Network.objects.values_list("vni", flat=True).get(pk=network)
    return {"network": str(network), "vni": vni}


OBJECT = Served(
    type="network",
    kind="network_on_node",
    ensure="ensure_network",
    remove="remove_network",
    generation=_generation,
    newest=Subquery(Network.objects.filter(pk=OuterRef("object_uuid")).values("mesh_generation")),
    advance=_advance,
    requests={"ensure_network": _present, "remove_network": absent},
)

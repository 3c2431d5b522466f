"""Which node serves a network: chosen once by load among the eligible, held as a lease by the database's clock (EN-11)."""

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q
from django.db.models.expressions import RawSQL

from sfweb.models import CarrierLease, Network, Node, NodeObject, Wanted
from sfweb.models.fields import FromNow
from sfweb.models.state import State


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A node's right to carry a network: `seconds` that are left of it now."""

    epoch: int
    seconds: float
    rivals: bool


def eligible() -> "list[Node]":
    """Nodes that may carry networks, the least loaded first (CM-6)."""
    fresh = FromNow(-settings.NODE_SILENT_SECONDS)
    nodes = Node.objects.filter(state=State.CREATED, carrier_eligible=True, cordoned=False, last_seen__gt=fresh)
    carried = Count("carries", filter=Q(carries__network__state__in=(State.INITIAL, State.CREATED)))
    return list(nodes.annotate(carried=carried).order_by("carried", "name"))


def choose(network: Network) -> Node | None:
    """Write the lease row for the least loaded eligible node; without one the row has no node and the network no services."""
    nodes = eligible()
    node = nodes[0] if nodes else None
    CarrierLease.objects.create(
        network=network, node=node, expires_at=FromNow(settings.CARRIER_LEASE_SECONDS) if node else None
    )
    return node


def lease_of(network: uuid.UUID, node: uuid.UUID) -> Lease | None:
    """The lease of the network if the node holds it. Rivals are other nodes that could take it over: it must stop by itself."""
    others = Node.objects.filter(state=State.CREATED, carrier_eligible=True).exclude(pk=node)
    left = RawSQL("TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), carrier_leases.expires_at)", [])
    rows = CarrierLease.objects.filter(network_id=network, node_id=node).annotate(left=left, rivals=Exists(others))
    row = rows.values("epoch", "left", "rivals").first()
    if row is None:
        return None
    return Lease(epoch=row["epoch"], seconds=max(0.0, (row["left"] or 0) / 1e6), rivals=row["rivals"])


def carrier_of(network: uuid.UUID) -> uuid.UUID | None:
    """The node that serves the network."""
    return CarrierLease.objects.filter(network=network).values_list("node_id", flat=True).first()


def renew(node: Node) -> list[tuple[uuid.UUID, int, int]]:
    """Extend every lease that the node holds, as its report was processed; (network, vni, epoch) of each.

    As long as it should hold the router: not while the network is being taken away, and also for a network in error
    whose guests are still there.
    """
    router = NodeObject.objects.filter(
        node=node, object_type="router", object_uuid=OuterRef("network_id"), wanted=Wanted.PRESENT
    )
    rows = CarrierLease.objects.filter(Exists(router), node=node)
    held = [
        (network, vni or 0, epoch) for network, vni, epoch in rows.values_list("network_id", "network__vni", "epoch")
    ]
    CarrierLease.objects.filter(node=node, network_id__in=[network for network, _, _ in held]).update(
        expires_at=FromNow(settings.CARRIER_LEASE_SECONDS)
    )
    return held

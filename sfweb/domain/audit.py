"""Every node against the rows, both directions, and the rows against each other: what should not be, one line each.

Pure reading. An empty list means that nothing has leaked and nothing is missing.
"""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Sum

from sfweb.models import (
    FLOATING,
    Address,
    AddressKind,
    Instance,
    Interface,
    Network,
    Node,
    NodeCapacity,
    NodeObject,
    PlacementReservation,
    PoolAllocation,
    Wanted,
)
from sfweb.models.state import LIVE_RESERVATION, State


def findings(nodes: Iterable[Node]) -> list[str]:
    """All findings for the nodes and for the cluster's rows."""
    found = [*_capacity(), *_reservations(), *_allocations(), *_addresses()]
    for node in nodes:
        found += _node(node)
    return found


def _node(node: Node) -> list[str]:
    if node.inventory is None:
        return [f"{node.name}: has given no inventory"]
    holds = {(item["object_type"], item["object_uuid"]): item["power"] for item in node.inventory["objects"]}
    rows = NodeObject.objects.filter(node=node)
    wanted = {(row.object_type, str(row.object_uuid)) for row in rows if row.wanted == Wanted.PRESENT}
    found = [f"{node.name}: {kind} {identity} is missing" for kind, identity in sorted(wanted - set(holds))]
    found += [f"{node.name}: {kind} {identity} should not be there" for kind, identity in sorted(set(holds) - wanted)]
    if not node.inventory["complete"]:
        found.append(f"{node.name}: the inventory is incomplete")
    for row in rows.filter(object_type="instance", wanted=Wanted.PRESENT):
        power = Instance.objects.values_list("power", flat=True).get(pk=row.object_uuid)
        seen = holds.get(("instance", str(row.object_uuid)), power)
        if seen != power:
            found.append(f"{node.name}: instance {row.object_uuid} is {seen}, wished is {power}")
    return found


def _capacity() -> list[str]:
    found = []
    sums = PlacementReservation.objects.filter(state__in=LIVE_RESERVATION).values("node_id")
    totals = {
        row["node_id"]: (row["cpus"], row["memory"], row["disk"])
        for row in sums.annotate(cpus=Sum("cpus"), memory=Sum("memory_mb"), disk=Sum("disk_gb"))
    }
    for row in NodeCapacity.objects.select_related("node"):
        used = (row.used_cpus, row.used_memory_mb, row.used_disk_gb)
        counted = totals.get(row.node_id, (0, 0, 0))
        if used != counted:
            found.append(f"{row.node.name}: counters say {used}, reservations {counted}")
        limits = (row.limit_cpus, row.limit_memory_mb, row.limit_disk_gb)
        if any(have > limit for have, limit in zip(used, limits, strict=True)):
            found.append(f"{row.node.name}: {used} is placed, {limits} is the limit")
    return found


def _reservations() -> list[str]:
    live = PlacementReservation.objects.filter(state__in=LIVE_RESERVATION).select_related("instance")
    live = live.exclude(node__state=State.DELETED)  # of a node that was given up: its instances may be rebuilt
    residues = _residue_owners()
    return [
        f"reservation of {row.instance.name} ({row.instance.state}) is still {row.state}"
        for row in live
        if row.instance.state in (State.DELETED, State.ERROR)
        and row.instance_id not in residues
        and not _parked(row.instance)
    ]


def _parked(instance: Instance) -> bool:
    """An instance in error keeps what it has while its wish to be there stands."""
    return NodeObject.objects.filter(object_type="instance", object_uuid=instance.pk, wanted=Wanted.PRESENT).exists()


def _residue_owners(object_type: str = "instance") -> set[UUID]:
    """Objects that a node may still hold although nobody wants them: what they took stays taken (EN-12)."""
    rows = NodeObject.objects.filter(object_type=object_type, wanted=Wanted.ABSENT).exclude(
        applied_wanted=Wanted.ABSENT
    )
    rows = rows.exclude(node__state=State.DELETED)
    return set(rows.values_list("object_uuid", flat=True))


def _allocations() -> list[str]:
    """Every taken value has a living owner; networks keep their VNI until their row goes."""
    instances = set(Instance.objects.exclude(state=State.DELETED).values_list("pk", flat=True)) | _residue_owners()
    interfaces = set(Interface.objects.exclude(state=State.DELETED).values_list("pk", flat=True)) | set(
        Interface.objects.filter(instance_id__in=_residue_owners()).values_list("pk", flat=True)
    )
    owners = {
        "instance": instances,
        "interface": interfaces,
        "network": set(Network.objects.values_list("pk", flat=True)),
    }
    return [
        f"{row.pool_name} {row.value} belongs to {row.owner_type} {row.owner_uuid}, which is gone"
        for row in PoolAllocation.objects.exclude(owner_type="")
        if row.owner_uuid not in owners.get(row.owner_type, set())
    ]


def _addresses() -> list[str]:
    interfaces = set(Interface.objects.exclude(state=State.DELETED).values_list("pk", flat=True))
    interfaces |= set(Interface.objects.filter(instance_id__in=_residue_owners()).values_list("pk", flat=True))
    networks = set(Network.objects.exclude(state=State.DELETED).values_list("pk", flat=True)) | {FLOATING}
    networks |= _residue_owners("router")
    owners = {"interface": interfaces, "network": networks}
    # Those of the outside block that belong to no one are the block's own: nobody may be given them.
    rows = Address.objects.exclude(kind=AddressKind.HALO).exclude(network_id=FLOATING, owner_type="")
    return [
        f"address {row.value} of network {row.network_id} belongs to {row.owner_type} {row.owner_uuid}, which is gone"
        for row in rows
        if row.owner_uuid not in owners.get(row.owner_type, set())
    ]

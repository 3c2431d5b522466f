"""The counters of what is taken on each node, and their limits. Only this module writes `used_*`; a test fails when another does.

Taking is one conditional UPDATE in the transaction that writes what is placed, so N concurrent creates for M places admit
exactly M (SC-1, SC-2). Rows of several nodes are taken by one statement, which locks them in the order of their key.
"""

import uuid
from collections.abc import Mapping

from django.conf import settings
from django.db import connection
from django.db.models import F, Sum

from sfweb.domain.placement_rules import DIMENSIONS, Room
from sfweb.models import Node, NodeCapacity, PlacementReservation
from sfweb.models.fields import UtcNow
from sfweb.models.state import LIVE_RESERVATION

MORE = ", ".join(f"used_{name} = used_{name} + %s" for name in DIMENSIONS)
LESS = ", ".join(f"used_{name} = GREATEST(0, CAST(used_{name} AS SIGNED) - %s)" for name in DIMENSIONS)
WITHIN = " AND ".join(f"used_{name} + %s <= limit_{name}" for name in DIMENSIONS)
"""Of any table with counters and their limits; the values are a room's `figures`. Counters are floored at zero (SC-5)."""


def lock_all() -> None:
    """Lock every node's counters, in the order of their key."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT node_id FROM node_capacity ORDER BY node_id FOR UPDATE")
        cursor.fetchall()


def take(wanted: Mapping[uuid.UUID, Room]) -> bool:
    """Add to the counters if all nodes stay within their limits: the one statement on which correctness rests.

    False when one of several did not; the caller then rolls back, because the others are taken.
    """
    nodes = {str(node): room for node, room in wanted.items()}
    assigned, values = [], []
    for name in DIMENSIONS:
        cases = " ".join("WHEN %s THEN %s" for _ in nodes)
        assigned.append(f"used_{name} = used_{name} + CASE node_id {cases} ELSE 0 END")
        values += [part for node, room in nodes.items() for part in (node, getattr(room, name))]
    for node, room in nodes.items():
        values += [node, *room.figures]
    within = " OR ".join(f"(node_id = %s AND {WITHIN})" for _ in nodes)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE node_capacity SET {', '.join(assigned)} WHERE {within}", values)
        return bool(cursor.rowcount == len(nodes))


def take_anyway(node: uuid.UUID, room: Room) -> bool:
    """Count what is there whether it fits or not (SC-11). False when the node is over its limit now."""
    _change(node, MORE, room)
    counters = counters_of(node)
    return all(one["used"] <= one["limit"] for one in counters.values())


def give_back(node: uuid.UUID, room: Room) -> None:
    _change(node, LESS, room)


def _change(node: uuid.UUID, change: str, room: Room) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE node_capacity SET {change} WHERE node_id = %s", [*room.figures, str(node)])


def used_by(namespace: uuid.UUID) -> Room:
    """What the namespace's instances take. One that moves has room on two nodes, and counts once."""
    held = PlacementReservation.objects.filter(instance__namespace=namespace, state__in=LIVE_RESERVATION)
    sums = held.filter(node=F("instance__node")).aggregate(**{name: Sum(name) for name in DIMENSIONS})
    return Room(**{name: sums[name] or 0 for name in DIMENSIONS})


def counters_of(node: uuid.UUID) -> dict[str, dict[str, int]]:
    """{dimension: {used, limit}} as this transaction sees them; empty for a node without a row."""
    row = NodeCapacity.objects.filter(node=node).first()
    if row is None:
        return {}
    return {name: {"used": getattr(row, f"used_{name}"), "limit": getattr(row, f"limit_{name}")} for name in DIMENSIONS}


def make(node: Node) -> None:
    """Counters for a node that has none: it offers nothing until it reports what it has."""
    NodeCapacity.objects.get_or_create(node=node)


def recount(node: Node) -> dict[str, tuple[int, int]]:
    """Set the node's counters to the sum of its live reservations; {column: (was, is)} for those that differed (SC-6)."""
    capacity = NodeCapacity.objects.select_for_update().get(node=node)
    live = PlacementReservation.objects.filter(node=node, state__in=LIVE_RESERVATION)
    sums = live.aggregate(**{f"used_{name}": Sum(name) for name in DIMENSIONS})
    drift = {
        column: (getattr(capacity, column), total or 0)
        for column, total in sums.items()
        if getattr(capacity, column) != (total or 0)
    }
    if drift:
        NodeCapacity.objects.filter(node=node).update(**{column: now for column, (_, now) in drift.items()})
    return drift


def set_limits(node: Node, cpus: int, memory_mb: int, disk_gb: int) -> None:
    """What a node reports that it offers, times the overcommit ratios and never above its ceiling (SC-7, SE-6)."""
    make(node)
    row = NodeCapacity.objects.get(node=node)
    if row.ceiling_cpus is None:
        row.ceiling_cpus, row.ceiling_memory_mb, row.ceiling_disk_gb = cpus, memory_mb, disk_gb
    cpus = min(cpus, row.ceiling_cpus)
    memory_mb = min(memory_mb, row.ceiling_memory_mb or 0)
    disk_gb = min(disk_gb, row.ceiling_disk_gb or 0)
    NodeCapacity.objects.filter(node=node).update(
        limit_cpus=int(cpus * settings.CPU_OVERCOMMIT_RATIO),
        limit_memory_mb=int(memory_mb * settings.RAM_OVERCOMMIT_RATIO),
        limit_disk_gb=int(disk_gb * settings.DISK_OVERCOMMIT_RATIO),
        largest_cpus=cpus,
        ceiling_cpus=row.ceiling_cpus,
        ceiling_memory_mb=row.ceiling_memory_mb,
        ceiling_disk_gb=row.ceiling_disk_gb,
        updated_at=UtcNow(),
    )

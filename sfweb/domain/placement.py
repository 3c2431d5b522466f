"""Where an instance goes: pure filters and rank over a snapshot, then a claim that the database decides.

`candidates` is pure and says for each node why not. `claim` takes the room by one conditional UPDATE of the node's
counters inside the transaction that writes the instance, so N concurrent creates for M places admit exactly M (SC-1,
SC-2). Only this module writes `used_*` and reservations; a test fails when another does.
"""

import random
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Sum

from sfweb.domain.rows import insert
from sfweb.errors import NoCapacity, NotFound
from sfweb.models import Instance, Node, NodeCapacity, PlacementReservation
from sfweb.models.fields import UtcNow
from sfweb.models.state import ReservationState, State, transition

BEST = 3
"""Equal enough to choose among at random, so that simultaneous creates do not all rush to one node."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What an instance takes. Memory MiB, disk GiB."""

    cpus: int
    memory_mb: int
    disk_gb: int


LIVE = (ReservationState.CLAIMED, ReservationState.CONSUMED)
NOTHING = Room(cpus=0, memory_mb=0, disk_gb=0)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One node as the snapshot saw it."""

    node: uuid.UUID
    name: str
    state: str
    cordoned: bool
    silent: bool
    largest_cpus: int
    limit: Room
    used: Room


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Why one node is no candidate: the stage that ruled it out, and the figures where it was room."""

    node: str
    stage: str
    transient: bool
    limit: int = 0
    used: int = 0
    wanted: int = 0

    def as_json(self) -> dict[str, Any]:
        figures = {"limit": self.limit, "used": self.used, "asked": self.wanted}
        figures["short_by"] = max(0, self.used + self.wanted - self.limit)
        return {"node": self.node, "stage": self.stage, **(figures if self.limit or self.wanted else {})}


STAGES = (
    "node_state",
    "is_hypervisor",
    "unlike_its_node",
    "cpu_max_per_instance",
    "sufficient_idle_cpu",
    "sufficient_idle_memory",
    "sufficient_free_disk",
    "capacity_guard",
)


def snapshot() -> list[Offer]:
    """Every living node with its capacity, in one query. A node without a capacity row is no candidate (SC-10)."""
    silent_after = settings.NODE_SILENT_SECONDS
    rows = NodeCapacity.objects.filter(
        node__state__in=(State.INITIAL, State.CREATED, State.MISSING, State.ERROR)
    ).extra(
        select={
            "silent": f"nodes.last_seen IS NULL OR nodes.last_seen < UTC_TIMESTAMP(6) - INTERVAL {silent_after} SECOND"
        },
        tables=["nodes"],
        where=["nodes.uuid = node_capacity.node_id"],
    )
    wanted = ("node_id", "node__name", "node__state", "node__cordoned", "silent", "largest_cpus")
    figures = ("limit_cpus", "limit_memory_mb", "limit_disk_gb", "used_cpus", "used_memory_mb", "used_disk_gb")
    return [_offer(row) for row in rows.values(*wanted, *figures)]


def _offer(row: Mapping[str, Any]) -> Offer:
    return Offer(
        node=row["node_id"],
        name=row["node__name"],
        state=row["node__state"],
        cordoned=row["node__cordoned"],
        silent=bool(row["silent"]),
        largest_cpus=row["largest_cpus"],
        limit=Room(cpus=row["limit_cpus"], memory_mb=row["limit_memory_mb"], disk_gb=row["limit_disk_gb"]),
        used=Room(cpus=row["used_cpus"], memory_mb=row["used_memory_mb"], disk_gb=row["used_disk_gb"]),
    )


def candidates(offers: Sequence[Offer], wanted: Room) -> tuple[list[Offer], list[Rejection]]:
    """The nodes with room, freest first, and a rejection for each other. Pure."""
    fit: list[Offer] = []
    rejected: list[Rejection] = []
    for offer in offers:
        reason = _reason(offer, wanted)
        if reason:
            rejected.append(reason)
        else:
            fit.append(offer)
    fit.sort(key=lambda offer: _free_share(offer, wanted), reverse=True)
    return fit, rejected


def _reason(offer: Offer, wanted: Room) -> Rejection | None:
    if offer.state != State.CREATED or offer.silent:
        return Rejection(node=offer.name, stage="node_state", transient=False)
    if offer.cordoned:
        return Rejection(node=offer.name, stage="is_hypervisor", transient=False)
    return _too_many_cpus(offer, wanted) or _shortage(offer, wanted)


def _too_many_cpus(offer: Offer, wanted: Room) -> Rejection | None:
    if wanted.cpus <= offer.largest_cpus:
        return None
    return Rejection(
        node=offer.name, stage="cpu_max_per_instance", transient=False, limit=offer.largest_cpus, wanted=wanted.cpus
    )


def _shortage(offer: Offer, wanted: Room) -> Rejection | None:
    dimensions = (
        ("sufficient_idle_cpu", offer.limit.cpus, offer.used.cpus, wanted.cpus),
        ("sufficient_idle_memory", offer.limit.memory_mb, offer.used.memory_mb, wanted.memory_mb),
        ("sufficient_free_disk", offer.limit.disk_gb, offer.used.disk_gb, wanted.disk_gb),
    )
    for stage, limit, used, asked in dimensions:
        if used + asked > limit:
            return Rejection(node=offer.name, stage=stage, transient=True, limit=limit, used=used, wanted=asked)
    return None


def _free_share(offer: Offer, wanted: Room) -> float:
    """The scarcest share that would be left, 0 to 1."""
    cpus = 1 - (offer.used.cpus + wanted.cpus) / max(offer.limit.cpus, 1)
    memory = 1 - (offer.used.memory_mb + wanted.memory_mb) / max(offer.limit.memory_mb, 1)
    disk = 1 - (offer.used.disk_gb + wanted.disk_gb) / max(offer.limit.disk_gb, 1)
    return min(cpus, memory, disk)


def in_order(fit: Sequence[Offer]) -> list[Offer]:
    """The candidates in the order in which to try them: the best few shuffled, then the rest."""
    best = list(fit[:BEST])
    random.shuffle(best)
    return best + list(fit[BEST:])


def claim(wanted: Room, placed_on: str | None = None, unfit: Collection[uuid.UUID] = ()) -> Offer:
    """Take the room on the best node, or on `placed_on` and nowhere else (SC-13), never on one that is `unfit`.

    Raises NotFound for an unknown node, NoCapacity with a reason for each node otherwise (SC-14, SC-20).
    """
    offers = snapshot()
    if placed_on is not None:
        offers = [offer for offer in offers if placed_on in (offer.name, str(offer.node))]
        if not offers:
            raise NotFound(f"node not found: {placed_on}")
    fit, rejected = candidates([offer for offer in offers if offer.node not in unfit], wanted)
    rejected += [
        Rejection(node=offer.name, stage="unlike_its_node", transient=False) for offer in offers if offer.node in unfit
    ]
    for offer in in_order(fit):
        if take(offer.node, wanted):
            return offer
        rejected.append(Rejection(node=offer.name, stage="capacity_guard", transient=True))
    raise refusal(rejected)


def refusal(rejected: Iterable[Rejection]) -> NoCapacity:
    """The error for "nowhere": the furthest stage that any node reached, and every node's reason."""
    reasons = sorted(rejected, key=lambda reason: STAGES.index(reason.stage))
    if not reasons:
        return NoCapacity("no node is registered", stage="is_hypervisor", details={"nodes": []})
    last = reasons[-1]
    listed = [reason.as_json() for reason in reasons]
    message = f"no node has room: {last.stage}"
    return NoCapacity(message, stage=last.stage, transient=any(r.transient for r in reasons), details={"nodes": listed})


def take(node: uuid.UUID, wanted: Room) -> bool:
    """Add to the node's counters if they stay within its limits. The one statement on which correctness rests."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE node_capacity SET used_cpus = used_cpus + %s, used_memory_mb = used_memory_mb + %s,"
            " used_disk_gb = used_disk_gb + %s WHERE node_id = %s AND used_cpus + %s <= limit_cpus"
            " AND used_memory_mb + %s <= limit_memory_mb AND used_disk_gb + %s <= limit_disk_gb",
            [
                *(wanted.cpus, wanted.memory_mb, wanted.disk_gb, node),
                *(wanted.cpus, wanted.memory_mb, wanted.disk_gb),
            ],
        )
        return bool(cursor.rowcount == 1)


def record(instance: Instance, wanted: Room) -> PlacementReservation:
    """Write down whose room `claim` took, once the instance's row exists; same transaction (SC-4)."""
    assert instance.node_id is not None, "claimed room lies on a node"
    return record_on(instance, instance.node_id, wanted)


def record_on(instance: Instance, node: uuid.UUID, wanted: Room) -> PlacementReservation:
    """The same for the node that an instance is on its way to."""
    row = PlacementReservation(
        instance=instance,
        node_id=node,
        cpus=wanted.cpus,
        memory_mb=wanted.memory_mb,
        disk_gb=wanted.disk_gb,
    )
    insert([row])
    return row


def consume(instance: Instance) -> None:
    """The instance is there: its reservation is used. Harmless when repeated."""
    row = PlacementReservation.objects.filter(instance=instance, state=ReservationState.CLAIMED).first()
    if row:
        transition(row, ReservationState.CONSUMED)


def enlarge(instance: Instance, wanted: Room) -> None:
    """Let the instance take at least `wanted` where it is; its row must be locked. Raises NoCapacity, and then nothing
    has changed.

    What it needs less of than before stays taken until `settle`, so that the change can be taken back.
    """
    row = PlacementReservation.objects.select_for_update().get(instance=instance, node=instance.node)
    more = _excess(wanted, row)
    if more == NOTHING:
        return
    offer = next(offer for offer in snapshot() if offer.node == row.node_id)
    if more.cpus and (rejection := _too_many_cpus(offer, wanted)):
        raise refusal([rejection])
    if not take(row.node_id, more):
        guard = Rejection(node=offer.name, stage="capacity_guard", transient=True)
        raise refusal([_shortage(offer, more) or guard])
    _hold(row, more, 1)


def settle(instance: Instance, needed: Room) -> None:
    """Give back what the instance holds above `needed` on its node. Harmless when repeated."""
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, node=instance.node)
    row = rows.first()
    if row is None or row.state == ReservationState.RELEASED:
        return
    less = _excess(row, needed)
    if less != NOTHING:
        _give_back(row.node_id, less)
        _hold(row, less, -1)


def _excess(held: Room | PlacementReservation, needed: Room | PlacementReservation) -> Room:
    """By how much `held` is above `needed`, each figure by itself."""
    return Room(
        cpus=max(0, held.cpus - needed.cpus),
        memory_mb=max(0, held.memory_mb - needed.memory_mb),
        disk_gb=max(0, held.disk_gb - needed.disk_gb),
    )


def _hold(row: PlacementReservation, change: Room, sign: int) -> None:
    PlacementReservation.objects.filter(pk=row.pk).update(
        cpus=row.cpus + sign * change.cpus,
        memory_mb=row.memory_mb + sign * change.memory_mb,
        disk_gb=row.disk_gb + sign * change.disk_gb,
    )


def release(instance: Instance) -> None:
    """Give the room back, once, whatever happens twice; counters are floored at zero (SC-5)."""
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, state__in=LIVE)
    for row in rows.order_by("node_id"):
        transition(row, ReservationState.RELEASED, released_at=UtcNow())
        _give_back(row.node_id, _room(row))


def held(instance: Instance, node: uuid.UUID) -> Room:
    """What the instance takes on that node."""
    return _room(PlacementReservation.objects.get(instance=instance, node_id=node))


def arriving(node: Node) -> int:
    """How many instances are on their way to the node."""
    return (
        PlacementReservation.objects.filter(node=node, state=ReservationState.CLAIMED)
        .exclude(instance__node=node)
        .count()
    )


def leave(instance: Instance, node: uuid.UUID) -> None:
    """Nothing of the instance is on that node any more, while it is elsewhere. Harmless when repeated."""
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, node_id=node)
    row = rows.first()
    if row is None:
        return
    if row.state in LIVE:
        _give_back(node, _room(row))
    rows.delete()


def _room(row: PlacementReservation) -> Room:
    return Room(cpus=row.cpus, memory_mb=row.memory_mb, disk_gb=row.disk_gb)


def _give_back(node: uuid.UUID, room: Room) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE node_capacity SET used_cpus = GREATEST(0, CAST(used_cpus AS SIGNED) - %s),"
            " used_memory_mb = GREATEST(0, CAST(used_memory_mb AS SIGNED) - %s),"
            " used_disk_gb = GREATEST(0, CAST(used_disk_gb AS SIGNED) - %s) WHERE node_id = %s",
            [room.cpus, room.memory_mb, room.disk_gb, node],
        )


def recount(node: Node) -> dict[str, tuple[int, int]]:
    """Set the node's counters to the sum of its live reservations; {column: (was, is)} for those that differed (SC-6)."""
    capacity = NodeCapacity.objects.select_for_update().get(node=node)
    live = PlacementReservation.objects.filter(node=node, state__in=LIVE)
    sums = live.aggregate(used_cpus=Sum("cpus"), used_memory_mb=Sum("memory_mb"), used_disk_gb=Sum("disk_gb"))
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
    row, _ = NodeCapacity.objects.get_or_create(node=node)
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

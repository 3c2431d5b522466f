"""Whose room is taken on a node, a row for each instance; only this module writes them (a test fails when another does).

    claimed    by the request that placed the instance, until its guest is there; good for a while, renewed while it is made
    consumed   the guest is there
    released   given back, with the instance or because it was never made
    expired    claimed, and nothing stood for it any more: given back by the reaper (SC-32)

What a node holds and nobody had counted is consumed too, whether it fits or not (SC-11).
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from django.conf import settings
from django.db.models import Exists, OuterRef, Sum

from sfweb.domain import affinity, capacity, claims, events
from sfweb.domain.placement import snapshot
from sfweb.domain.placement_rules import DIMENSIONS, NOTHING, Around, Asked, Offer, Rejection, Room, refusal, rejection
from sfweb.domain.rows import insert
from sfweb.models import Instance, PlacementReservation
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import LIVE_RESERVATION, ReservationState, State, transition

PAGE = 200


def record(placed: Mapping[uuid.UUID, Offer], asked: Sequence[Asked], request_id: str = "") -> None:
    """Write down whose room `place` took, in the order of `asked`, once the instances' rows exist; same transaction (SC-4)."""
    rows, told = [], []
    for (instance, offer), one in zip(placed.items(), asked, strict=True):
        room = one.room
        until = FromNow(settings.RESERVATION_TTL_SECONDS)
        rows.append(PlacementReservation(instance_id=instance, node_id=offer.node, expires_at=until, **room.as_json()))
        told.append(_told("instance placed", instance, offer, room, request_id))
        if one.affinity.by_weights:
            target = [("instance", instance)]
            told.append(events.Entry(kind="audit", message=affinity.OLD_FORM, targets=target, request_id=request_id))
    insert(rows)
    events.record_all(told)


def _told(message: str, instance: uuid.UUID, offer: Offer, room: Room, request_id: str) -> events.Entry:
    used, limit = offer.used.plus(room), offer.limit
    counters = {name: {"used": getattr(used, name), "limit": getattr(limit, name)} for name in DIMENSIONS}
    return events.Entry(
        kind="audit",
        message=message,
        targets=[("instance", instance), ("node", offer.node)],
        extra={"node": offer.name, "room": room.as_json(), "counters": counters},
        request_id=request_id,
    )


def room_of(instance: Instance) -> Room:
    """What the instance takes by its rows, with the disks that come and those that have not gone yet."""
    disks = instance.disks.aggregate(total=Sum("room_gb"))["total"] or 0
    return Room(cpus=instance.cpus, memory_mb=instance.memory_mb, disk_gb=disks)


def consume(instance: Instance) -> None:
    """The instance is there: its reservation is used. Harmless when repeated."""
    row = PlacementReservation.objects.filter(instance=instance, node=instance.node_id).first()
    if row is not None and row.state == ReservationState.CLAIMED:
        transition(row, ReservationState.CONSUMED, expires_at=None)
    elif row is None or row.state not in LIVE_RESERVATION:
        _count_anyway(instance)


def uncounted(node: uuid.UUID, instances: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Of instances that are on their node, those for which no room is taken there."""
    here = Instance.objects.filter(pk__in=instances, node=node).exclude(state=State.DELETED)
    live = PlacementReservation.objects.filter(instance=OuterRef("pk"), node=node, state__in=LIVE_RESERVATION)
    return list(here.exclude(Exists(live)).values_list("pk", flat=True))


def count_found(node: uuid.UUID, instance: uuid.UUID) -> bool:
    """Take room for an instance that its node holds, if still none is taken: the truth is there, whatever fits (SC-11)."""
    row = Instance.objects.select_for_update().filter(pk=instance, node=node).exclude(state=State.DELETED).first()
    live = PlacementReservation.objects.filter(instance=instance, node=node, state__in=LIVE_RESERVATION)
    if row is None or live.exists():
        return False
    _count_anyway(row)
    return True


def _count_anyway(instance: Instance) -> None:
    assert instance.node_id is not None, "found on a node"
    room = room_of(instance)
    fits = capacity.take_anyway(instance.node_id, room)
    claims.count(instance.namespace_id, room)
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, node=instance.node_id)
    row = rows.first()
    if row is None:
        reservation = PlacementReservation(instance=instance, node_id=instance.node_id, **room.as_json())
        reservation.state = ReservationState.CONSUMED
        insert([reservation])
    else:
        columns = {"expires_at": None, "released_at": None, **room.as_json()}
        PlacementReservation.objects.filter(pk=row.pk).update(**columns)
        transition(row, ReservationState.CONSUMED)
    facts = {"room": room.as_json(), "counters": capacity.counters_of(instance.node_id)}
    message = "counted what the node holds" if fits else "counted what the node holds: it is over its limit now"
    events.record("audit", message, [("instance", instance.pk), ("node", instance.node_id)], extra=facts)


def renew(instances: Collection[uuid.UUID]) -> int:
    """Claims whose instance is still being made are good for the whole time again."""
    claimed = PlacementReservation.objects.filter(instance__in=instances, state=ReservationState.CLAIMED)
    return claimed.update(expires_at=FromNow(settings.RESERVATION_TTL_SECONDS))


def expired() -> "list[tuple[uuid.UUID, uuid.UUID]]":
    """(reservation, instance) of claims that are older than they may be, oldest first."""
    old = PlacementReservation.objects.filter(state=ReservationState.CLAIMED, expires_at__lt=UtcNow())
    return list(old.order_by("expires_at").values_list("pk", "instance_id")[:PAGE])


def expire(reservation: uuid.UUID) -> bool:
    """Give the room of a claim back for which nothing stands any more; its instance's row must be locked."""
    rows = PlacementReservation.objects.select_for_update()
    row = rows.filter(pk=reservation, state=ReservationState.CLAIMED, expires_at__lt=UtcNow()).first()
    if row is None:
        return False
    transition(row, ReservationState.EXPIRED, released_at=UtcNow())
    _give_back(row, "reservation expired")
    return True


def enlarge(instance: Instance, wanted: Room) -> None:
    """Let the instance take at least `wanted` where it is; its row must be locked. Raises NoCapacity, and then nothing
    has changed.

    What it needs less of than before stays taken until `settle`, so that the change can be taken back.
    """
    row = PlacementReservation.objects.select_for_update().get(instance=instance, node=instance.node_id)
    more = _excess(wanted, row)
    if more == NOTHING:
        return
    offer = next(offer for offer in snapshot() if offer.node == row.node_id)
    if more.cpus and wanted.cpus > offer.largest_cpus:
        raise refusal([Rejection(offer=offer, asked=Asked(room=wanted), stage="cpu_max_per_instance")])
    if not capacity.take({row.node_id: more}):
        # The instance is on the node whatever the node's state, so only room can be the reason.
        seen = replace(offer, state=State.CREATED, cordoned=False, silent=False, lost=True)
        reason = rejection(seen, Asked(room=more), Around())
        assert reason is not None
        raise refusal([reason])
    claims.draw({instance.namespace_id: more})
    _hold(row, more, 1)


def settle(instance: Instance, needed: Room) -> None:
    """Give back what the instance holds above `needed` on its node. Harmless when repeated."""
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, node=instance.node_id)
    row = rows.first()
    if row is None or row.state not in LIVE_RESERVATION:
        return
    less = _excess(row, needed)
    if less != NOTHING:
        capacity.give_back(row.node_id, less)
        claims.give_back(instance.namespace_id, less)
        _hold(row, less, -1)


def _excess(held: Room | PlacementReservation, needed: Room | PlacementReservation) -> Room:
    """By how much `held` is above `needed`, each figure by itself."""
    return Room(**{name: max(0, getattr(held, name) - getattr(needed, name)) for name in DIMENSIONS})


def _hold(row: PlacementReservation, change: Room, sign: int) -> None:
    columns = {name: getattr(row, name) + sign * getattr(change, name) for name in DIMENSIONS}
    PlacementReservation.objects.filter(pk=row.pk).update(**columns)


def release(instance: Instance) -> None:
    """Give the room back, once, whatever happens twice."""
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, state__in=LIVE_RESERVATION)
    for row in rows.order_by("node_id"):
        transition(row, ReservationState.RELEASED, released_at=UtcNow())
        _give_back(row, "room released")


def held(instance: Instance, node: uuid.UUID) -> Room:
    """What the instance takes on that node."""
    return _room(PlacementReservation.objects.get(instance=instance, node_id=node))


def arriving(node: uuid.UUID) -> int:
    """How many instances are on their way to the node."""
    claimed = PlacementReservation.objects.filter(node_id=node, state=ReservationState.CLAIMED)
    return claimed.exclude(instance__node=node).count()


def leave(instance: Instance, node: uuid.UUID) -> None:
    """Nothing of the instance is on that node any more, while it is elsewhere. Harmless when repeated."""
    rows = PlacementReservation.objects.select_for_update().filter(instance=instance, node_id=node)
    for row in rows.filter(state__in=LIVE_RESERVATION):
        _give_back(row, "room released")
    rows.delete()


def _room(row: PlacementReservation) -> Room:
    return Room(**{name: getattr(row, name) for name in DIMENSIONS})


def _give_back(row: PlacementReservation, message: str) -> None:
    """Its namespace has room once for an instance that has it on two nodes: for where it is."""
    room = _room(row)
    capacity.give_back(row.node_id, room)
    if row.instance.node_id in (row.node_id, None):
        claims.give_back(row.instance.namespace_id, room)
    facts = {"node": row.node.name, "room": room.as_json(), "counters": capacity.counters_of(row.node_id)}
    events.record("audit", message, [("instance", row.instance_id), ("node", row.node_id)], extra=facts)

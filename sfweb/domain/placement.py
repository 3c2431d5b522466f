"""Where instances go: one function places, for one and for many, and writes down whose room was taken.

`place` reads the nodes, lets the pure rules choose, and takes the room by one guarded statement in the transaction that
writes the instances (SC-1, SC-4). Reservations say whose the room is: claimed by a request, consumed when the guest is
there, released with it. Only this module writes them.
"""

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import connection

from sfweb.domain import affinity, capacity, events
from sfweb.domain.placement_rules import (
    DIMENSIONS,
    NOTHING,
    Around,
    Asked,
    Offer,
    Rejection,
    Room,
    candidates,
    choose,
    meant,
    refusal,
    rejection,
)
from sfweb.domain.rows import insert
from sfweb.models import BlobLocation, Instance, PlacementReservation
from sfweb.models.fields import UtcNow
from sfweb.models.state import LIVE_RESERVATION, ReservationState, State, transition

_FIGURES = ", ".join(f"{kind}_{name}" for kind in ("limit", "used") for name in DIMENSIONS)
_OFFERS = (
    "SELECT nodes.uuid, name, state, cordoned, clock_skew,"
    " last_seen IS NULL OR last_seen < UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND,"
    f" node_id IS NOT NULL, largest_cpus, {_FIGURES}"
    " FROM nodes LEFT JOIN node_capacity ON node_id = nodes.uuid WHERE state IN %s"
)
_NEIGHBOURS = (
    "SELECT instances.namespace_id, instances.node_id, tags.value, COUNT(*) FROM instances"
    " JOIN metadata tags ON tags.object_type = 'instance' AND tags.object_uuid = instances.uuid AND tags.`key` = 'tags'"
    " WHERE instances.namespace_id IN %s AND instances.state <> 'deleted' AND instances.node_id IS NOT NULL"
    " AND JSON_OVERLAPS(tags.value, %s) GROUP BY instances.namespace_id, instances.node_id, tags.value"
)


class Overtaken(Exception):
    """Others changed meanwhile what was chosen by. Nothing can be kept: roll back and place again with `sure`."""


def snapshot() -> list[Offer]:
    """Every living node with its capacity, in one query. One without a capacity row is listed and takes nothing (SC-10)."""
    states = [State.INITIAL, State.CREATED, State.MISSING, State.ERROR]
    with connection.cursor() as cursor:
        cursor.execute(_OFFERS, [int(settings.NODE_SILENT_SECONDS * 1_000_000), [str(state) for state in states]])
        return [_offer(row) for row in cursor.fetchall()]


def _offer(row: Sequence[Any]) -> Offer:
    node, name, state, cordoned, skew, silent, known, largest, *figures = row
    limit, used = (
        Room(**{name: part or 0 for name, part in zip(DIMENSIONS, figures[at : at + 3], strict=True)}) for at in (0, 3)
    )
    return Offer(
        node=uuid.UUID(str(node)),
        name=name,
        state=state,
        cordoned=bool(cordoned),
        silent=bool(silent),
        largest_cpus=largest or 0,
        limit=limit,
        used=used,
        clock_skew=skew,
        known=bool(known),
    )


def look_around(asked: Sequence[Asked]) -> Around:
    """What is on the nodes that the rank may depend on: one query each, and none where nobody asks for it."""
    tags = sorted({tag for one in asked for tag in one.affinity.tags})
    blobs = {blob for one in asked for blob in one.blobs}
    around = Around()
    if tags:
        spaces = sorted({str(one.namespace) for one in asked if one.affinity.tags})
        with connection.cursor() as cursor:
            cursor.execute(_NEIGHBOURS, [spaces, json.dumps(tags)])
            for namespace, node, value, count in cursor.fetchall():
                place = (uuid.UUID(str(namespace)), uuid.UUID(str(node)))
                there = around.neighbours.setdefault(place, Counter())
                there.update(dict.fromkeys(set(json.loads(value)), count))
    if blobs:
        copies: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
        for node, blob in BlobLocation.objects.filter(blob__in=blobs).values_list("node_id", "blob_id"):
            copies[node].add(blob)
        around.copies = {node: frozenset(there) for node, there in copies.items()}
    return around


def place(asked: Sequence[Asked], *, sure: bool = False) -> list[Offer]:
    """A node for each, its room taken: all or none. What is answered is each node as it was before that instance.

    The caller holds the locks of their namespaces, so that neighbours stay what they are.
    Raises NotFound for an unknown node, Conflict for a requirement that no node meets, NoCapacity with every node's
    reasons, and Overtaken, after which the transaction is run again with `sure`: then nobody else places meanwhile.
    """
    if sure:
        capacity.lock_all()
    offers = snapshot()
    while True:
        chosen = choose(offers, asked, look_around(asked))
        if capacity.take(_sums(chosen, asked)):
            return chosen
        if len(asked) > 1:
            raise Overtaken
        offers = [replace(one, lost=one.lost or one.node == chosen[0].node) for one in offers]


def _sums(chosen: Sequence[Offer], asked: Sequence[Asked]) -> dict[uuid.UUID, Room]:
    sums: dict[uuid.UUID, Room] = {}
    for offer, one in zip(chosen, asked, strict=True):
        sums[offer.node] = sums.get(offer.node, NOTHING).plus(one.room)
    return sums


def diagnose(asked: Asked) -> dict[str, Any]:
    """What `place` would see: candidates, best first, with their scores, and every other node's reasons. Changes nothing."""
    fit, rejected = candidates(meant(snapshot(), asked), asked, look_around([asked]))
    return {
        "asked": asked.room.as_json(),
        "candidates": [
            {
                "node": one.offer.name,
                "score": round(one.score, 6),
                "terms": {name: round(value, 6) for name, value in one.terms.items()},
                "limit": one.offer.limit.as_json(),
                "used": one.offer.used.as_json(),
            }
            for one in fit
        ],
        "rejected": [one.as_json() for one in rejected],
    }


def record(placed: Mapping[uuid.UUID, Offer], asked: Sequence[Asked], request_id: str = "") -> None:
    """Write down whose room `place` took, in the order of `asked`, once the instances' rows exist; same transaction (SC-4)."""
    rows, told = [], []
    for (instance, offer), one in zip(placed.items(), asked, strict=True):
        room = one.room
        rows.append(PlacementReservation(instance_id=instance, node_id=offer.node, **room.as_json()))
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
    row = PlacementReservation.objects.select_for_update().get(instance=instance)
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
    _hold(row, more, 1)


def settle(instance: Instance, needed: Room) -> None:
    """Give back what the instance holds above `needed`. Harmless when repeated."""
    row = PlacementReservation.objects.select_for_update().filter(instance=instance).first()
    if row is None or row.state not in LIVE_RESERVATION:
        return
    less = _excess(row, needed)
    if less != NOTHING:
        capacity.give_back(row.node_id, less)
        _hold(row, less, -1)


def _excess(held: Room | PlacementReservation, needed: Room | PlacementReservation) -> Room:
    """By how much `held` is above `needed`, each figure by itself."""
    return Room(**{name: max(0, getattr(held, name) - getattr(needed, name)) for name in DIMENSIONS})


def _hold(row: PlacementReservation, change: Room, sign: int) -> None:
    columns = {name: getattr(row, name) + sign * getattr(change, name) for name in DIMENSIONS}
    PlacementReservation.objects.filter(pk=row.pk).update(**columns)


def release(instance: Instance) -> None:
    """Give the room back, once, whatever happens twice."""
    row = PlacementReservation.objects.select_for_update().filter(instance=instance).first()
    if row is None or row.state not in LIVE_RESERVATION:
        return
    transition(row, ReservationState.RELEASED, released_at=UtcNow())
    room = Room(**{name: getattr(row, name) for name in DIMENSIONS})
    capacity.give_back(row.node_id, room)
    facts = {"node": row.node.name, "room": room.as_json(), "counters": capacity.counters_of(row.node_id)}
    events.record("audit", "room released", [("instance", instance.pk), ("node", row.node_id)], extra=facts)

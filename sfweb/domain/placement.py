"""Where instances go: one function places, for one and for many.

`place` reads the nodes, lets the pure rules choose, and takes the room by one guarded statement in the transaction that
writes the instances and their reservations (SC-1, SC-4).
"""

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import connection

from sfweb.domain import capacity, claims
from sfweb.domain.placement_rules import (
    BEST,
    DIMENSIONS,
    NOTHING,
    Around,
    Asked,
    Offer,
    Room,
    candidates,
    choose,
    meant,
)
from sfweb.errors import NoCapacity
from sfweb.models import BlobLocation
from sfweb.models.state import State

_FIGURES = ", ".join(f"{kind}_{name}" for kind in ("limit", "used") for name in DIMENSIONS)
_OFFERS = (
    "SELECT nodes.uuid, name, state, cordoned, clock_skew,"
    " last_seen IS NULL OR last_seen < UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND,"
    f" node_id IS NOT NULL, largest_cpus, {_FIGURES}"
    " FROM nodes LEFT JOIN node_capacity ON node_id = nodes.uuid WHERE state IN %s"
)
_FREEST = (
    f"SELECT nodes.uuid, name, state, FALSE, clock_skew, FALSE, TRUE, largest_cpus, {_FIGURES}"
    " FROM node_capacity FORCE INDEX (freest_node) STRAIGHT_JOIN nodes ON nodes.uuid = node_id"
    " WHERE state = 'created' AND NOT cordoned AND last_seen >= UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND"
    f" AND largest_cpus >= %s AND {capacity.WITHIN}{{more}} ORDER BY free_share DESC LIMIT %s"
)
_WITH_COPY = " AND node_id IN (SELECT node_id FROM blob_locations WHERE blob_id IN %s)"
FREEST = 2 * BEST
"""So many of the freest nodes are ranked, and as many more as there are instances to place."""
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


def freest(asked: Sequence[Asked]) -> list[Offer]:
    """The nodes with most free, of those that the least of them fits on: by an index, so that the others are not read.

    With images also the freest of the nodes that have a copy.
    """
    least = [min(one.room.figures[at] for one in asked) for at in range(len(DIMENSIONS))]
    blobs = sorted({str(blob) for one in asked for blob in one.blobs})
    values = [int(settings.NODE_SILENT_SECONDS * 1_000_000), least[0], *least]
    number = FREEST + len(asked)
    with connection.cursor() as cursor:
        cursor.execute(_FREEST.format(more=""), [*values, number])
        rows = cursor.fetchall()
        if blobs:
            cursor.execute(_FREEST.format(more=_WITH_COPY), [*values, blobs, number])
            rows = {row[0]: row for row in (*rows, *cursor.fetchall())}.values()
    return [_offer(row) for row in rows]


def _offer(row: Sequence[Any]) -> Offer:
    node, name, state, cordoned, skew, silent, known, largest, *figures = row
    parts = [part or 0 for part in figures]
    return Offer(
        node=uuid.UUID(str(node)),
        name=name,
        state=state,
        cordoned=bool(cordoned),
        silent=bool(silent),
        largest_cpus=largest or 0,
        limit=Room.of(parts[:3]),
        used=Room.of(parts[3:]),
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


def place(asked: Sequence[Asked], *, batch: bool = False, sure: bool = False, moving: bool = False) -> list[Offer]:
    """A node for each, its room taken: all or none. What is answered is each node as it was before that instance.

    `moving`: its namespace has room for it already, on the node where it is.
    The caller holds the locks of their namespaces, so that neighbours stay what they are.
    Raises NotFound for an unknown node, Conflict for a requirement that no node meets, NoCapacity with every node's
    reasons, ClaimExceeded, and Overtaken, after which the transaction is run again with `sure`: then nobody else places
    meanwhile.
    """
    if sure:
        capacity.lock_all()
    some = not sure and all(one.fits_by_room for one in asked)
    offers = freest(asked) if some else snapshot()
    while True:
        try:
            chosen = choose(offers, asked, look_around(asked), batch=batch)
        except NoCapacity:
            if not some:
                raise
            some, offers = False, snapshot()
            continue
        if capacity.take(_sums(chosen, asked)):
            if not moving:
                claims.draw(_by_namespace(asked))
            return chosen
        if len(asked) > 1:
            raise Overtaken
        offers = [replace(one, lost=one.lost or one.node == chosen[0].node) for one in offers]


def _by_namespace(asked: Sequence[Asked]) -> dict[uuid.UUID | None, Room]:
    sums: dict[uuid.UUID | None, Room] = {}
    for one in asked:
        sums[one.namespace] = sums.get(one.namespace, NOTHING).plus(one.room)
    return sums


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

"""Quota claims of namespaces: what is kept for one, and the most that it may take, over the whole cluster (CL-1 to CL-5).

What is placed of a namespace with a claim is drawn from the claim by one guarded UPDATE. All others compete for the rest:
what the nodes have, less what is used, less what claims have left. A claim says nothing about single nodes, so an instance
may still find none that is large enough.

Lock order: nodes' counters, claims, the cluster's row. A change of claims locks all counters, so nobody places meanwhile;
and whoever places holds the counters of a node, so no claim changes before it has committed.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from sfweb.domain import capacity, events
from sfweb.domain.callers import Caller
from sfweb.domain.placement_rules import DIMENSIONS, NOTHING, Room
from sfweb.domain.rows import insert
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Forbidden, NoCapacity
from sfweb.models import ClusterCapacity, Namespace, NamespaceClaim
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import LIVE_RESERVATION, State, transition

DEFAULT_SECONDS = 86400
_ACTIVE = "state = 'created' AND expires_at > UTC_TIMESTAMP(6)"


class ClaimExceeded(Forbidden):
    """A namespace would take more than its claim. `claim`, `namespace` are uuids; `details` has every figure (CL-4)."""

    code = "claim_exceeded"

    def __init__(self, claim: NamespaceClaim, room: Room) -> None:
        self.namespace = claim.namespace_id
        figures = {
            name: {"limit": limit, "used": used, "asked": asked, "shortfall": max(0, used + asked - limit)}
            for name, limit, used, asked in _figures(claim, room)
        }
        super().__init__(
            f"the namespace's claim {claim.pk} is too small for this", details={"claim": str(claim.pk), **figures}
        )


def active() -> dict[uuid.UUID, NamespaceClaim]:
    """{namespace: its claim} of all that are there and have not expired."""
    rows = NamespaceClaim.objects.filter(state=State.CREATED, expires_at__gt=UtcNow()).order_by("pk")
    return {row.namespace_id: row for row in rows}


def _is_any() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM namespace_claims WHERE {_ACTIVE} LIMIT 1")
        return cursor.fetchone() is not None


def draw(wanted: Mapping[uuid.UUID | None, Room]) -> None:
    """Count what was just taken on nodes, {namespace: room}. Raises ClaimExceeded or NoCapacity."""
    if not _is_any():
        return
    there = active()
    for owner, claim in there.items():
        if owner in wanted:
            _draw(claim, wanted[owner])
    rest = NOTHING
    for namespace, room in wanted.items():
        rest = rest if namespace in there else rest.plus(room)
    if rest != NOTHING:
        _compete(rest)


def require_unpromised(namespace: uuid.UUID, room: Room) -> None:
    """What was just taken for a namespace that has it counted already, on a node that is gone. Raises NoCapacity.

    Where that has a claim, the claim holds it.
    """
    there = active()
    if there and namespace not in there:
        _compete(room)


def _draw(claim: NamespaceClaim, room: Room) -> None:
    if _change(claim.namespace_id, capacity.MORE, room, capacity.WITHIN):
        return
    claim.refresh_from_db()
    if settings.CLAIM_ENFORCEMENT == "hard":
        raise ClaimExceeded(claim, room)
    _change(claim.namespace_id, capacity.MORE, room)
    tell_exceeded(ClaimExceeded(claim, room))


def tell_exceeded(error: ClaimExceeded) -> None:
    """The namespace's owner and the operator read that it asked for more than its claim (CL-5)."""
    with transaction.atomic():
        events.record("audit", "its claim was exceeded", [("namespace", error.namespace)], extra=error.details)


@contextmanager
def telling() -> Iterator[None]:
    """Around a request: what the refused transaction undid is told all the same."""
    try:
        yield
    except ClaimExceeded as error:
        tell_exceeded(error)
        raise


def _compete(room: Room) -> None:
    """Raises NoCapacity unless every claim can still be filled after this (CL-3). The nodes' counters have it already."""
    _lock_cluster()
    figures = {}
    for name, (total, used, promised) in _totals().items():
        limit, asked = total - promised, getattr(room, name)
        short_by = max(0, used - limit)
        figures[name] = {"limit": limit, "used": used - asked, "asked": asked, "short_by": short_by}
    if any(one["short_by"] for one in figures.values()):
        message = "what is left is claimed by other namespaces"
        raise NoCapacity(message, stage="namespace_claims", transient=True, details={"dimensions": figures})


def count(namespace: uuid.UUID, room: Room) -> None:
    """What is there counts, whether it fits or not (SC-11)."""
    _change(namespace, capacity.MORE, room)


def give_back(namespace: uuid.UUID, room: Room) -> None:
    """After the counters of the node, whose lock says whether a claim has counted this."""
    _change(namespace, capacity.LESS, room)


def _change(namespace: uuid.UUID, change: str, room: Room, guard: str = "") -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE namespace_claims SET {change} WHERE holds_id = %s AND {_ACTIVE}"
            + (f" AND {guard}" if guard else ""),
            [*room.figures, str(namespace), *(room.figures if guard else [])],
        )
        return bool(cursor.rowcount)


def make(caller: Caller, namespace: Namespace, limit: Room, seconds: int = DEFAULT_SECONDS) -> NamespaceClaim:
    """A new claim, into which the namespace's use moves. Raises Conflict, NoCapacity."""
    return _make(caller, namespace, limit, seconds)


@durable
def _make(caller: Caller, namespace: Namespace, limit: Room, seconds: int) -> NamespaceClaim:
    Namespace.objects.select_for_update().get(pk=namespace.pk, state=State.CREATED)
    capacity.lock_all()
    old = NamespaceClaim.objects.select_for_update().filter(holds=namespace).first()
    if old is not None and namespace.pk in active():
        raise Conflict(f"namespace {namespace.name} has a claim: {old.pk}", code="claim_exists")
    if old is not None:
        _end(old)
    claim = NamespaceClaim(namespace=namespace, holds=namespace, expires_at=FromNow(seconds))
    _set_figures(claim, limit)
    insert([claim])
    claim.refresh_from_db()
    _tell(caller, claim, "claim made")
    return claim


def change(caller: Caller, claim: NamespaceClaim, limit: Room, seconds: int | None = None) -> NamespaceClaim:
    """Another size, or `seconds` from now until its end; one that had expired begins again. Raises Conflict, NoCapacity."""
    return _resize(caller, claim.pk, limit, seconds)


@durable
def _resize(caller: Caller, identity: uuid.UUID, limit: Room, seconds: int | None) -> NamespaceClaim:
    capacity.lock_all()
    claim = NamespaceClaim.objects.select_for_update().get(pk=identity)
    if claim.state != State.CREATED:
        raise Conflict("the claim is deleted", code="claim_deleted")
    _set_figures(claim, limit)
    if seconds is not None:
        claim.expires_at = FromNow(seconds)
    claim.save(update_fields=["expires_at", *(f"{kind}_{name}" for kind in ("limit", "used") for name in DIMENSIONS)])
    claim.refresh_from_db()
    _tell(caller, claim, "claim changed")
    return claim


def delete(caller: Caller, claim: NamespaceClaim) -> None:
    """Harmless when repeated."""
    _delete(caller, claim.pk)


@durable
def _delete(caller: Caller, identity: uuid.UUID) -> None:
    capacity.lock_all()
    claim = NamespaceClaim.objects.select_for_update().get(pk=identity)
    if claim.state == State.CREATED:
        _end(claim)
        _lock_cluster()
        _note_claimed()
        _tell(caller, claim, "claim deleted")


def end_of_namespace(namespace: uuid.UUID) -> None:
    """A namespace that is deleted keeps nothing for itself. Inside the transaction that deletes it."""
    for claim in NamespaceClaim.objects.select_for_update().filter(holds=namespace):
        _end(claim)


def _end(claim: NamespaceClaim) -> None:
    transition(claim, State.DELETED, holds=None, deleted_at=UtcNow())


def _set_figures(claim: NamespaceClaim, limit: Room) -> None:
    """Limit and use of a claim that is made or changed, if the cluster has that much to promise. All counters are locked.

    Refused where what others use, and what other claims keep, would not leave enough (CL-2); and below what is used.
    """
    _lock_cluster()
    used = capacity.used_by(claim.namespace_id)
    kept = {}
    for name, (total, in_use, others) in _totals(claim.pk).items():
        own, asked = getattr(used, name), getattr(limit, name)
        kept[name] = {"limit": total - others, "used": in_use - own, "asked": asked, "own_use": own}
        kept[name]["short_by"] = max(0, kept[name]["used"] + asked - kept[name]["limit"])
        setattr(claim, f"limit_{name}", asked)
        setattr(claim, f"used_{name}", own)
    if any(one["own_use"] > one["asked"] for one in kept.values()):
        raise Conflict("the namespace uses more than that", code="claim_below_use", details={"dimensions": kept})
    if any(one["short_by"] for one in kept.values()):
        message = "the cluster has not that much to promise"
        raise NoCapacity(message, stage="namespace_claims", details={"dimensions": kept})
    _note_claimed(claim)


def _lock_cluster() -> None:
    ClusterCapacity.objects.get_or_create(pk=1)
    ClusterCapacity.objects.select_for_update().get(pk=1)


def _note_claimed(changed: NamespaceClaim | None = None) -> None:
    """The sums of all claims, for people; `changed` is not written yet."""
    rows = [row for row in active().values() if changed is None or row.pk != changed.pk]
    rows += [changed] if changed is not None else []
    sums = {f"claimed_{name}": sum(getattr(row, f"limit_{name}") for row in rows) for name in DIMENSIONS}
    ClusterCapacity.objects.filter(pk=1).update(updated_at=UtcNow(), **sums)


def _totals(without: uuid.UUID | None = None) -> dict[str, tuple[int, int, int]]:
    """{dimension: (limit, used, promised)}: of all nodes that are there, and what claims have left, all or all but one.

    An instance on its way has room on two nodes, and counts once. One statement, so that a move, or a create that draws
    from a claim, is seen whole or not at all when it commits meanwhile: between two it would be missing from both.
    """
    twice = ", ".join(f"COALESCE(SUM(held.{name}), 0) AS {name}" for name in DIMENSIONS)
    left = "GREATEST(0, CAST(limit_{0} AS SIGNED) - CAST(used_{0} AS SIGNED))"
    promised = ", ".join(f"COALESCE(SUM({left.format(name)}), 0) AS {name}" for name in DIMENSIONS)
    sums = ", ".join(
        f"SUM(limit_{name}), SUM(used_{name}) - MAX(twice.{name}), MAX(promised.{name})" for name in DIMENSIONS
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {sums} FROM node_capacity JOIN nodes ON nodes.uuid = node_id AND nodes.state = 'created'"
            f" JOIN (SELECT {twice} FROM placement_reservations held"
            " JOIN nodes other ON other.uuid = held.node_id AND other.state = 'created'"
            " JOIN instances ON instances.uuid = held.instance_id AND instances.node_id <> held.node_id"
            " JOIN nodes own ON own.uuid = instances.node_id AND own.state = 'created'"
            " WHERE held.state IN %s) twice"
            f" JOIN (SELECT {promised} FROM namespace_claims WHERE {_ACTIVE} AND uuid <> %s) promised",
            [[str(state) for state in LIVE_RESERVATION], str(without or uuid.UUID(int=0))],
        )
        found = [int(value or 0) for value in cursor.fetchone()]
    return dict(zip(DIMENSIONS, zip(found[::3], found[1::3], found[2::3], strict=True), strict=True))


def _figures(claim: NamespaceClaim, room: Room) -> list[tuple[str, int, int, int]]:
    return [
        (name, getattr(claim, f"limit_{name}"), getattr(claim, f"used_{name}"), getattr(room, name))
        for name in DIMENSIONS
    ]


@durable
def recount() -> int:
    """Set every active claim's use to the sum of its namespace's live reservations; how many differed (SC-6)."""
    drifted = 0
    if active():
        capacity.lock_all()
    for namespace, claim in active().items():
        used = {f"used_{name}": getattr(capacity.used_by(namespace), name) for name in DIMENSIONS}
        drift = {name: (getattr(claim, name), now) for name, now in used.items() if getattr(claim, name) != now}
        if drift:
            NamespaceClaim.objects.filter(pk=claim.pk).update(**used)
            events.record("status", "its claim's use had drifted", [("namespace", namespace)], extra={"drift": drift})
            drifted += 1
    _lock_cluster()
    _note_claimed()
    return drifted


def _tell(caller: Caller, claim: NamespaceClaim, message: str) -> None:
    facts: dict[str, Any] = {"claim": str(claim.pk)}
    facts |= {name: {"limit": limit, "used": used} for name, limit, used, _ in _figures(claim, NOTHING)}
    target = [("namespace", claim.namespace_id)]
    events.record("audit", f"{message} by {caller}", target, extra=facts, request_id=caller.request_id)

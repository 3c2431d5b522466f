"""One allocator for every number that must be taken once: VNIs, MACs, ports, vsock CIDs.

The database refuses a double (unique on pool and value), so there is no lock: insert, and try another value when it was
taken. A dense pool falls back to a scan of the gaps, so a pool is never called exhausted while a value is free (GA-5).
A released value of a pool with a quarantine rests before it is given again. The owner's events tell of each value that it
got, gave back or lost by time (GA-8). Addresses are not here: they have CIDR
rules, roles and a halo of their own (`ipam.py`).
"""

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, QuerySet

from sfweb import metrics
from sfweb.domain import events
from sfweb.domain.rows import insert_all_unless_taken, insert_unless_taken
from sfweb.errors import Conflict, PoolExhausted
from sfweb.models import PoolAllocation
from sfweb.models.fields import FromNow, UtcNow

RANDOM_TRIES = 10
POOLS = ("vni", "mac", "vsock-cid", "port")
MAC_PREFIX = 0x020000 << 24


@dataclass(frozen=True)
class Pool:
    """Values `low` to `high` inclusive; `lowest` first or at random; `quarantine` seconds of rest after release."""

    low: int
    high: int
    lowest: bool = False
    quarantine: float = 0.0

    @property
    def size(self) -> int:
        return self.high - self.low + 1


def pool(name: str) -> Pool:
    """The policy of a pool; `port/<node>` has one pool a node. Raises KeyError for a name that nobody declared."""
    return {
        "vni": Pool(1, 2**24 - 1),
        "mac": Pool(MAC_PREFIX, MAC_PREFIX + 2**24 - 1),
        "vsock-cid": Pool(3, 2**31 - 1),
        "port": Pool(30000, 49999, lowest=True, quarantine=settings.PORT_QUARANTINE_SECONDS),
    }[name.partition("/")[0]]


def allocate(
    name: str, owner_type: str, owner_uuid: uuid.UUID, *, ttl: float | None = None, value: int | None = None
) -> int:
    """Take one value, or exactly `value`. Raises PoolExhausted, or Conflict when the wanted value is taken."""
    policy = pool(name)
    claim = _Claim(name, owner_type, owner_uuid, ttl)
    if value is not None:
        if not claim.take(value):
            raise Conflict(f"{value} of {name} is in use", code="pool.in_use")
        return _told(claim, value)
    for candidate in _first_choices(policy):
        if claim.take(candidate):
            return _told(claim, candidate)
        metrics.POOL_RETRIES.labels(_shown(name)).inc()
    while (free := _free_value(name, policy)) is not None:
        if claim.take(free):
            return _told(claim, free)
        metrics.POOL_RETRIES.labels(_shown(name)).inc()
    metrics.POOL_EXHAUSTED.labels(_shown(name)).inc()
    raise PoolExhausted(f"no free value in {name}", details={"pool": name, "size": policy.size})


def allocate_many(owner_type: str, owners: Mapping[str, Sequence[uuid.UUID]]) -> dict[str, list[int]]:
    """Of each pool a value for each of its owners, as one after the other would get them, and mostly by one statement."""
    found = {name: _untaken(name, len(each)) for name, each in owners.items()}
    rows = [
        PoolAllocation(pool_name=name, value=value, owner_type=owner_type, owner_uuid=owner)
        for name, each in owners.items()
        for value, owner in zip(found[name], each, strict=False)
    ]
    if len(rows) == sum(map(len, owners.values())) and insert_all_unless_taken(rows):
        _tell("allocated", rows)
        return found
    return {name: [allocate(name, owner_type, owner) for owner in each] for name, each in owners.items()}


def release(name: str, value: int) -> None:
    """Give a value back; harmless when it is free already."""
    _rest(PoolAllocation.objects.filter(pool_name=name, value=value))


def release_all(owner_type: str, owner_uuid: uuid.UUID, pool: str | None = None) -> None:
    """Give back everything that the owner has, or all of one pool; harmless when repeated (GA-2)."""
    rows = PoolAllocation.objects.filter(owner_type=owner_type, owner_uuid=owner_uuid)
    _rest(rows if pool is None else rows.filter(pool_name=pool))


def reap() -> int:
    """Free what has expired: leases and values that have rested. Returns how many."""
    rows = list(PoolAllocation.objects.select_for_update().filter(expires_at__lt=UtcNow()))
    _tell("reaped", rows)
    return PoolAllocation.objects.filter(pk__in=[row.pk for row in rows]).delete()[0]


def usage() -> dict[str, tuple[int, int]]:
    """{pool: (values that are taken or rest, size)}; what each node has of its own is one pool here."""
    taken: dict[str, list[int]] = {name: [] for name in POOLS}
    for name, count in PoolAllocation.objects.values_list("pool_name").annotate(Count("pk")):
        taken[_shown(name)].append(count)
    return {name: (sum(counts), pool(name).size * max(1, len(counts))) for name, counts in taken.items()}


def mac_text(value: int) -> str:
    return ":".join(f"{value:012x}"[at : at + 2] for at in range(0, 12, 2))


def mac_value(text: str) -> int:
    return int(text.replace(":", ""), 16)


@dataclass(frozen=True)
class _Claim:
    name: str
    owner_type: str
    owner_uuid: uuid.UUID
    ttl: float | None

    def take(self, value: int) -> bool:
        """Insert the value, or take over a row that has expired. False when somebody has it."""
        expiry = FromNow(self.ttl) if self.ttl is not None else None
        columns = {"owner_type": self.owner_type, "owner_uuid": self.owner_uuid, "expires_at": expiry}
        if insert_unless_taken(PoolAllocation(pool_name=self.name, value=value, **columns)):
            return True
        expired = PoolAllocation.objects.filter(pool_name=self.name, value=value, expires_at__lt=UtcNow())
        return expired.update(allocated_at=UtcNow(), **columns) == 1


def _shown(name: str) -> str:
    """The pool as metrics name it."""
    return name.partition("/")[0]


def _told(claim: _Claim, value: int) -> int:
    row = PoolAllocation(pool_name=claim.name, value=value, owner_type=claim.owner_type, owner_uuid=claim.owner_uuid)
    _tell("allocated", [row])
    return value


def _tell(what: str, rows: Sequence[PoolAllocation]) -> None:
    """An event on each row's owner; what rests has none."""
    events.record_all(
        [
            events.Entry(
                kind="status",
                message=f"{_shown(row.pool_name)} {what}",
                targets=[(row.owner_type, row.owner_uuid)],
                extra={"pool": row.pool_name, "value": row.value},
            )
            for row in rows
            if row.owner_uuid is not None
        ]
    )


def _first_choices(policy: Pool) -> Iterator[int]:
    if policy.lowest:
        return
    for _ in range(min(RANDOM_TRIES, policy.size)):
        yield random.randint(policy.low, policy.high)


def _untaken(name: str, count: int) -> list[int]:
    """So many values, fewer where there are not as many, that probably nobody has."""
    policy = pool(name)
    if policy.lowest:
        return _lowest_unused(name, policy, count)
    return random.sample(range(policy.low, policy.high + 1), min(count, policy.size))


def _lowest_unused(name: str, policy: Pool, count: int) -> list[int]:
    """The lowest values without any row, not even one that has expired."""
    found: list[int] = []
    expected = policy.low
    rows = PoolAllocation.objects.filter(pool_name=name).order_by("value")
    for taken in rows.values_list("value", flat=True).iterator():
        found += range(expected, min(taken, expected + count - len(found)))
        if len(found) == count:
            return found
        expected = taken + 1
    return found + list(range(expected, min(policy.high + 1, expected + count - len(found))))


def _free_value(name: str, policy: Pool) -> int | None:
    """A value that no live row has, as committed now: the lowest, or any of the first gap for random pools."""
    rows = PoolAllocation.objects.filter(pool_name=name).exclude(expires_at__lt=UtcNow())
    expected = policy.low
    for taken in rows.order_by("value").values_list("value", flat=True).iterator():
        if taken > expected:
            break
        expected = taken + 1
    return expected if expected <= policy.high else None


def _rest(rows: QuerySet[PoolAllocation]) -> None:
    found = list(rows)
    _tell("released", found)
    for row in found:
        quarantine = pool(row.pool_name).quarantine
        same = PoolAllocation.objects.filter(pk=row.pk, owner_uuid=row.owner_uuid)
        if quarantine:
            same.update(owner_type="", owner_uuid=None, expires_at=FromNow(quarantine))
        else:
            same.delete()

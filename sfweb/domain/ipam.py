"""Addresses of a network: roles, fixed and random reservations, and the halo in which a released one rests (IP-1 to IP-7).

The unique column (network, value) decides every race; there is no lock. A halo row that is old enough counts as free and
is taken over by a guarded UPDATE.
"""

import ipaddress
import random
import uuid
from collections.abc import Sequence

from django.conf import settings
from django.db.models import QuerySet

from sfweb.domain.rows import insert_all_unless_taken, insert_unless_taken
from sfweb.errors import Conflict, Invalid, NoCapacity
from sfweb.models import FLOATING, Address, AddressKind, Network
from sfweb.models.fields import FromNow, UtcNow

RANDOM_TRIES = 5


def block(network: Network) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(network.netblock)


def gateway(network: Network) -> str:
    """The router's address inside the network: the first usable one."""
    return str(block(network)[1])


def open_block(network: Network) -> None:
    """The three rows that every network has from its first moment (IP-1)."""
    net = block(network)
    roles = [(net[0], AddressKind.NETWORK), (net[-1], AddressKind.BROADCAST), (net[1], AddressKind.GATEWAY)]
    Address.objects.bulk_create(
        [
            Address(network=network, value=int(address), kind=kind, owner_type="network", owner_uuid=network.pk)
            for address, kind in roles
        ]
    )


def reserve_fixed(network: Network, address: str, kind: str, owner_type: str, owner_uuid: uuid.UUID) -> str:
    """Reserve exactly `address`. Raises Invalid outside the block, Conflict when it is in use; a halo is taken over (IP-7)."""
    try:
        wanted = ipaddress.IPv4Address(address)
    except ValueError:
        raise Invalid(f"address: {address} is not an IPv4 address") from None
    if wanted not in block(network):
        raise Invalid(f"address: {address} is not inside {network.netblock}")
    if _take(network, int(wanted), kind, (owner_type, owner_uuid), halo_seconds=0.0):
        return str(wanted)
    raise Conflict(f"address {address} is in use", code="address.in_use")


def reserve_random(network: Network, kind: str, owner_type: str, owner_uuid: uuid.UUID) -> str:
    """Reserve any free address. Raises NoCapacity, without a transient mark, when the network is full (IP-3, IP-6)."""
    net, owner = block(network), (owner_type, owner_uuid)
    for _ in range(RANDOM_TRIES):
        value = int(net[random.randrange(1, net.num_addresses - 1)])
        if _take(network, value, kind, owner, settings.IP_DELETION_HALO_SECONDS):
            return str(ipaddress.IPv4Address(value))
    for halo_seconds in (settings.IP_DELETION_HALO_SECONDS, settings.IP_CONGESTED_HALO_SECONDS):
        while free := _first_free(network, halo_seconds):
            if _take(network, free, kind, owner, halo_seconds):
                return str(ipaddress.IPv4Address(free))
    raise NoCapacity(f"network {network.name} has no free address", details={"network": str(network.pk)})


def reserve_many(network: Network, kind: str, owner_type: str, owners: Sequence[uuid.UUID]) -> list[str]:
    """Any free address for each of the owners. Two statements where the network is not nearly full; else as `reserve_random`."""
    if len(owners) > 1:
        net = block(network)
        usable = range(int(net[1]), int(net[-1]))
        some = random.sample(usable, min(len(usable), 3 * len(owners)))
        taken = set(Address.objects.filter(network=network, value__in=some).values_list("value", flat=True))
        free = [value for value in some if value not in taken][: len(owners)]
        rows = [
            Address(network=network, value=value, kind=kind, owner_type=owner_type, owner_uuid=owner)
            for value, owner in zip(free, owners, strict=False)
        ]
        if len(rows) == len(owners) and insert_all_unless_taken(rows):
            return [str(ipaddress.IPv4Address(value)) for value in free]
    return [reserve_random(network, kind, owner_type, owner) for owner in owners]


def release_owned(owner_uuid: uuid.UUID, networks: Sequence[uuid.UUID] | None = None) -> int:
    """Put every address of the owner into its halo (IP-4). Harmless when repeated."""
    rows = Address.objects.filter(owner_uuid=owner_uuid).exclude(kind=AddressKind.HALO)
    if networks is not None:
        rows = rows.filter(network_id__in=networks)
    return rest(rows)


def rest(rows: "QuerySet[Address]") -> int:
    """Put these addresses into their halo, which counts from now."""
    return rows.update(kind=AddressKind.HALO, owner_type="", owner_uuid=None, released_at=UtcNow())


def withdraw(address: str, network: Network) -> bool:
    """An outside address that the network gives back: reserved, as the network's own, until its router no longer has it."""
    return _outside(address).update(owner_type="network", owner_uuid=network.pk, released_at=UtcNow()) == 1


def free_withdrawn(address: str, network: uuid.UUID) -> bool:
    """Put a withdrawn outside address into its halo, which counts from now. Harmless when repeated."""
    return rest(_outside(address).filter(owner_uuid=network, released_at__isnull=False)) == 1


def _outside(address: str) -> "QuerySet[Address]":
    kinds = (AddressKind.FLOATING, AddressKind.ROUTED)
    return Address.objects.filter(network=FLOATING, value=int(ipaddress.IPv4Address(address)), kind__in=kinds)


def reap_halo() -> int:
    """Delete the rows that have rested long enough. Returns how many."""
    return _rested(Address.objects.all(), settings.IP_DELETION_HALO_SECONDS).delete()[0]


def _rested(rows: "QuerySet[Address]", seconds: float) -> "QuerySet[Address]":
    return rows.filter(kind=AddressKind.HALO, released_at__lte=FromNow(-seconds))


def _take(network: Network, value: int, kind: str, owner: tuple[str, uuid.UUID], halo_seconds: float) -> bool:
    columns = {"kind": kind, "owner_type": owner[0], "owner_uuid": owner[1]}
    if insert_unless_taken(Address(network=network, value=value, **columns)):
        return True
    rested = _rested(Address.objects.filter(network=network, value=value), halo_seconds)
    return rested.update(reserved_at=UtcNow(), released_at=None, **columns) == 1


def _first_free(network: Network, halo_seconds: float) -> int | None:
    """The lowest value without a live row, from index 1 on, as committed now."""
    net = block(network)
    rested = _rested(Address.objects.filter(network=network), halo_seconds).values("pk")
    taken = set(Address.objects.filter(network=network).exclude(pk__in=rested).values_list("value", flat=True))
    first, last = int(net[1]), int(net[-1])
    return next((value for value in range(first, last) if value not in taken), None)

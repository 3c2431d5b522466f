"""Holds the floating block against what is given out from it (FL-8).

An address that nothing refers to is put into its halo, once the network's router has confirmed that it has it no more:
that is what is left when an operation ended before its router could be told. The reverse, an address in use without a
reservation, is reserved again and told as an error, because nothing of ours should have made it.
"""

import ipaddress
import logging
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

from sftasks import wishes
from sfweb.domain import events, ipam
from sfweb.domain.rows import insert_unless_taken
from sfweb.domain.transactions import durable
from sfweb.models import FLOATING, Address, AddressKind, Interface, Network, NodeObject, Operation
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import OPEN_OPERATION, State

log = logging.getLogger(__name__)
GRACE_SECONDS = 300.0
GIVEN_OUT = (AddressKind.GATEWAY, AddressKind.FLOATING, AddressKind.ROUTED)


class Use(NamedTuple):
    """One outside address that the rows of its user name."""

    address: str
    kind: str
    owner_type: str
    owner: UUID
    network: UUID


def run() -> dict[str, int]:
    """A read that fails ends the pass before anything is released."""
    uses = list(_uses())
    used = {(int(ipaddress.IPv4Address(use.address)), use.owner) for use in uses}
    idle = [row for row in _old() if (row.value, row.owner_uuid) not in used and not _is_routed(row)]
    released = sum(_release(row) for row in idle)
    held = dict(Address.objects.filter(network=FLOATING, kind__in=GIVEN_OUT).values_list("value", "owner_uuid"))
    lost = [use for use in uses if held.get(int(ipaddress.IPv4Address(use.address))) != use.owner]
    return {"released": released, "reserved": sum(_reserve(use) for use in lost)}


def _uses() -> Iterator[Use]:
    networks = Network.objects.exclude(state=State.DELETED).filter(floating_gateway__isnull=False)
    for pk, address in networks.values_list("pk", "floating_gateway"):
        yield Use(str(address), AddressKind.GATEWAY, "network", pk, pk)
    cards = Interface.objects.exclude(state=State.DELETED).filter(floating__isnull=False)
    for pk, address, network in cards.values_list("pk", "floating", "network_id"):
        yield Use(str(address), AddressKind.FLOATING, "interface", pk, network)


def _old() -> QuerySet[Address]:
    """What was given out, or withdrawn, long enough ago; the block's own addresses belong to no one, or to itself."""
    grace = FromNow(-GRACE_SECONDS * settings.TIME_SCALE)
    rows = Address.objects.filter(network=FLOATING, kind__in=GIVEN_OUT, reserved_at__lt=grace)
    rows = rows.filter(Q(released_at=None) | Q(released_at__lt=grace))
    return rows.exclude(owner_type="").exclude(owner_uuid=FLOATING)


def _is_routed(row: Address) -> bool:
    living = Network.objects.exclude(state=State.DELETED).filter(pk=row.owner_uuid or FLOATING)
    return row.kind == AddressKind.ROUTED and row.released_at is None and living.exists()


@durable
def _release(row: Address) -> int:
    address = str(ipaddress.IPv4Address(row.value))
    owner = row.owner_uuid or FLOATING
    card = Interface.objects.filter(pk=owner).values_list("network_id", flat=True).first()
    network = card or owner
    routers = NodeObject.objects.filter(object_type="router", object_uuid=network)
    working = Operation.objects.filter(object_key=f"address:{address}", state__in=OPEN_OPERATION)
    if working.exists() or wishes.differing(routers).exists():
        return 0
    same = Address.objects.filter(pk=row.pk, kind=row.kind, owner_uuid=row.owner_uuid, released_at=row.released_at)
    if not ipam.rest(same):
        return 0
    events.record("audit", "unused outside address released", [("network", network)], extra={"address": address})
    return 1


@durable
def _reserve(use: Use) -> int:
    """Nothing is changed of an address that another has meanwhile: that is told, and needs a person."""
    value = int(ipaddress.IPv4Address(use.address))
    columns = {"kind": use.kind, "owner_type": use.owner_type, "owner_uuid": use.owner}
    resting = Address.objects.filter(network=FLOATING, value=value, kind=AddressKind.HALO)
    fresh = insert_unless_taken(Address(network_id=FLOATING, value=value, **columns))
    done = fresh or resting.update(reserved_at=UtcNow(), released_at=None, **columns) == 1
    message = "outside address was used without a reservation" if done else "outside address is used twice"
    log.error(message, extra={"address": use.address, "owner": str(use.owner)})
    targets = [(use.owner_type, use.owner), ("network", use.network)]
    events.record("audit", message, targets, extra={"address": use.address})
    return int(done)

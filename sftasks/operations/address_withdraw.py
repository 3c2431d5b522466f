"""Take an outside address from a guest: the router lets go of it first, then it rests and is free (FL-4)."""

import ipaddress
from collections.abc import Sequence
from uuid import UUID

from sftasks import mesh, outside
from sftasks.operation import Accepted, Ended, Kind, Stage
from sfweb.domain import ipam
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Forbidden, Invalid, NotFound
from sfweb.models import FLOATING, Address, AddressKind, Interface, Network, Operation


@durable
def request_defloat(caller: Caller, interface: Interface) -> Accepted:
    """Raises Conflict when the interface has no floating address."""
    card = Interface.objects.select_for_update().get(pk=interface.pk)
    network = Network.objects.select_for_update().get(pk=card.network_id)
    address = card.floating
    if not address:
        raise Conflict("the interface has no floating address", code="interface.not_floating")
    Interface.objects.filter(pk=card.pk).update(floating=None)
    told = mesh.refresh(network, caller)
    return Accepted(address, outside.withdraw(network, address, told, caller, interface=card.pk))


@durable
def request_unroute(caller: Caller, network: Network, address: str) -> Accepted:
    """Raises NotFound for an address that is not routed, Forbidden when another network has it (#2094)."""
    try:
        value = int(ipaddress.IPv4Address(address))
    except ValueError:
        raise Invalid(f"address: {address} is not an IPv4 address") from None
    row = Network.objects.select_for_update().get(pk=network.pk)
    routed = Address.objects.filter(network=FLOATING, value=value, kind=AddressKind.ROUTED, released_at=None).first()
    if routed is None:
        raise NotFound(f"address {address} is not routed")
    if routed.owner_uuid != row.pk:
        raise Forbidden(f"address {address} is not routed to this network")
    return Accepted(address, outside.withdraw(row, address, mesh.refresh(row, caller), caller))


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: what it depends on has told the router."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    """While the router may answer for the address, it stays reserved."""
    if ended.ok:
        ipam.free_withdrawn(operation.params["address"], UUID(operation.params["network"]))


OPERATION = Kind(name="address_withdraw", stages=stages, finish=finish, priority=10)

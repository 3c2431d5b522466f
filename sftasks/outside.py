"""Outside addresses of guests: taken from the floating block, and given back only after the router has let go of them.

Called inside the transactions of operations. An address that is withdrawn stays reserved, as the network's own, until
the operation that takes it from the router has succeeded; only then does its halo begin (FL-4). One whose router could
not be told stays reserved until it has been: the reconciler `outside_addresses` sees to that (FL-8).
"""

from collections.abc import Sequence
from uuid import UUID

from sftasks import engine
from sftasks.operation import Wish
from sfweb.domain import ipam
from sfweb.domain.callers import Caller
from sfweb.errors import Conflict
from sfweb.models import FLOATING, CarrierLease, Network, Operation


def reserve(network: Network, kind: str, owner_type: str, owner: UUID) -> str:
    """An address from the block for a guest of the network. Raises Conflict without a way out, NoCapacity when none is left."""
    if network.floating_gateway is None:
        raise Conflict(f"network {network.name} has no way out: it was made without NAT", code="network.no_egress")
    if not CarrierLease.objects.filter(network=network, node__isnull=False).exists():
        raise Conflict(f"network {network.name} has no carrier that could serve an address", code="network.no_carrier")
    return ipam.reserve_random(Network.objects.get(pk=FLOATING), kind, owner_type, owner)


def wish(kind: str, network: Network, address: str, caller: Caller, interface: UUID | None) -> Wish:
    """What every operation on an outside address says of itself."""
    card = [("interface", interface)] if interface else []
    return Wish(
        kind=kind,
        object_key=f"address:{address}",
        targets=[("network", network.pk), *card],
        params={
            "network": str(network.pk),
            "address": address,
            "interface": str(interface) if interface else None,
        },
        caller=caller,
        namespace=network.namespace_id,
    )


def withdraw(
    network: Network, address: str, told: Sequence[Operation], caller: Caller, *, interface: UUID | None = None
) -> Operation:
    """The rows no longer give the address to anybody; it is free once the operations `told` have told the router so."""
    ipam.withdraw(address, network)
    operation = engine.submit(wish("address_withdraw", network, address, caller, interface))
    engine.depend(operation, told)
    return operation

"""Give a guest an outside address: floating, to one of its interfaces, or routed, to whoever holds it in the network.

The address is reserved in the request; the network's router is told by its own operation, which this one waits for. If
the router cannot be told, the address is withdrawn again.
"""

from collections.abc import Sequence

from sftasks import engine, mesh, outside
from sftasks.operation import Accepted, Ended, Kind, Stage
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Invalid, NotFound, NotReady
from sfweb.models import AddressKind, Interface, Network, Operation
from sfweb.models.state import State


@durable
def request_float(caller: Caller, interface: Interface) -> Accepted:
    """Raises Conflict when it floats already or its network has no way out, Invalid without an address, NoCapacity."""
    card = Interface.objects.select_for_update().get(pk=interface.pk)
    network = Network.objects.select_for_update().get(pk=card.network_id)
    if card.state == State.DELETED:
        raise NotFound(f"interface not found: {card.pk}")
    if card.state != State.CREATED or network.state != State.CREATED:
        raise NotReady(f"the interface is {card.state} and its network {network.state}")
    if card.floating:
        raise Conflict(f"the interface has the floating address {card.floating}", code="interface.floating")
    if card.address is None:
        raise Invalid("the interface has no address that could float", code="interface.no_address")
    address = outside.reserve(network, AddressKind.FLOATING, "interface", card.pk)
    Interface.objects.filter(pk=card.pk).update(floating=address)
    operation = engine.submit(outside.wish("address_expose", network, address, caller, card.pk))
    engine.depend(operation, mesh.refresh(network, caller))
    return Accepted(address, operation)


@durable
def request_route(caller: Caller, network: Network) -> Accepted:
    """Raises NotReady while the network is not created, Conflict when it has no way out, NoCapacity."""
    row = Network.objects.select_for_update().get(pk=network.pk)
    if row.state != State.CREATED:
        raise NotReady(f"network {row.name} is {row.state}")
    address = outside.reserve(row, AddressKind.ROUTED, "network", row.pk)
    operation = engine.submit(outside.wish("address_expose", row, address, caller, None))
    engine.depend(operation, mesh.refresh(row, caller))
    return Accepted(address, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: what it depends on has told the router."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    """An address that could not be had is wished for no more; the router may have it, so it goes the whole way back."""
    if ended.ok:
        return
    address, card = operation.params["address"], operation.params["interface"]
    if card:
        given = Interface.objects.filter(pk=card, floating=address).update(floating=None)
        if not given:
            return  # it was withdrawn in the meantime
    network = Network.objects.select_for_update().get(pk=operation.params["network"])
    if network.state == State.DELETED:
        return
    outside.withdraw(network, address, mesh.refresh(network, CLUSTER), CLUSTER, interface=card)


OPERATION = Kind(name="address_expose", stages=stages, finish=finish, priority=10)

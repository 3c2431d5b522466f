"""Give an instance one more interface: at once when it runs, else at its next start (NI-4)."""

from sftasks import attachment, devices, engine, mesh
from sftasks.operation import Accepted
from sftasks.plans import instances
from sfweb.domain.callers import Caller
from sfweb.domain.instance_rules import MAX_INTERFACES
from sfweb.domain.lookup import find_network
from sfweb.domain.specs import NewInterface
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict
from sfweb.models import Instance, Interface, Network, Operation
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, instance: Instance, card: NewInterface) -> Accepted:
    """Take MAC and address and write the interface. Raises NotFound, NotReady, Conflict, Invalid or NoCapacity.

    The network is named in the instance's namespace (NI-1).
    """
    owner = Caller(namespace=instance.namespace.name, namespace_uuid=instance.namespace_id)
    network = find_network(owner, card.network, instance.namespace.name)
    operation = engine.submit(instances.wish("interface_plug", instance, caller, ("network", network.pk)))
    row = devices.lock_created(instance.pk)
    network = Network.objects.select_for_update().get(pk=network.pk)
    devices.require_usable(network)
    present = row.interfaces.filter(state__in=attachment.LIVING)
    if present.count() >= MAX_INTERFACES:
        raise Conflict(f"an instance has at most {MAX_INTERFACES} interfaces", code="instance.full")
    newest = row.interfaces.order_by("-order").values_list("order", flat=True).first()
    made = devices.write_interfaces(row, [card], [network], 0 if newest is None else newest + 1)[0]
    engine.remember(operation, interface=str(made.pk))
    engine.aim((operation, [("interface", made.pk)]))
    instances.raise_generation(row.pk)
    assert row.node_id is not None
    engine.depend(operation, mesh.bring_network(network, row.node_id, caller))
    return Accepted(made, operation)


def retract(operation: Operation) -> None:
    """The interface is not wanted any more; MAC and address stay taken until the node has confirmed that."""
    card = Interface.objects.get(pk=operation.params["interface"])
    if card.state == State.INITIAL:
        transition(card, State.DELETE_WAIT)
    instances.raise_generation(card.instance_id)


OPERATION = devices.change("interface_plug", retract)

"""Take an interface out of its instance; then its floating address, its address and its MAC are free again (NI-6)."""

from sftasks import attachment, devices, engine
from sftasks.operation import Accepted
from sftasks.plans import instances
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Interface, Operation
from sfweb.models.state import OPEN_OPERATION, State, transition


@durable
def request(caller: Caller, card: Interface) -> Accepted:
    """Ask for its end. Repeated, it answers the same operation; one that is gone is NotFound, a paused guest's Conflict."""
    key = f"instance:{card.instance_id}"
    running = Operation.objects.filter(
        object_key=key, kind="interface_unplug", state__in=OPEN_OPERATION, params__interface=str(card.pk)
    ).first()
    if running is not None:
        return Accepted(Interface.objects.get(pk=card.pk), running)
    concerned = ("interface", card.pk), ("network", card.network_id)
    operation = engine.submit(
        instances.wish("interface_unplug", card.instance, caller, *concerned, interface=str(card.pk))
    )
    instance = devices.lock_created(card.instance_id)
    devices.require_unpaused(instance)
    row = Interface.objects.select_for_update().get(pk=card.pk)
    if row.state not in attachment.LIVING:
        raise NotFound(f"interface not found: {row.pk}")
    if row.state != State.DELETE_WAIT:
        transition(row, State.DELETE_WAIT)
    instances.raise_generation(instance.pk)
    return Accepted(row, operation)


def retract(operation: Operation) -> None:
    """The guest keeps its interface."""
    card = Interface.objects.get(pk=operation.params["interface"])
    if card.state == State.DELETE_WAIT:
        transition(card, State.CREATED)
    instances.raise_generation(card.instance_id)


OPERATION = devices.change("interface_unplug", retract)

"""Delete a network: at once when nothing uses it, else when its last interface has gone (NW-7)."""

from collections.abc import Sequence

from django.db.models import QuerySet

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden, NotFound
from sfweb.models import FLOATING, Address, CarrierLease, Interface, Network, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, OperationState, State, transition


@durable
def request(caller: Caller, network: Network) -> Accepted:
    """Ask for the end of the network. Repeated, it answers the same operation; a deleted one is NotFound."""
    if network.pk == FLOATING:
        raise Forbidden("the floating network cannot be deleted")
    key = f"network:{network.pk}"
    running = Operation.objects.filter(object_key=key, kind="network_delete", state__in=OPEN_OPERATION).first()
    if running is not None:
        return Accepted(Network.objects.get(pk=network.pk), running)
    operation = engine.submit(
        Wish(
            kind="network_delete",
            object_key=key,
            targets=[("network", network.pk)],
            params={"network": str(network.pk)},
            caller=caller,
            namespace=network.namespace_id,
        )
    )
    row = Network.objects.select_for_update().get(pk=network.pk)
    if row.state == State.DELETED:
        raise NotFound(f"network not found: {row.pk}")
    if row.state != State.DELETE_WAIT:
        transition(row, State.DELETE_WAIT)
    if not _users(row).exists():
        attachment.dissolve(row, caller)
    return Accepted(row, operation)


def _users(network: Network) -> QuerySet[Interface]:
    return Interface.objects.filter(network=network, state__in=attachment.LIVING)


def ready(operation: Operation) -> str:
    users = _users(Network.objects.get(pk=operation.params["network"])).count()
    return f"{users} interfaces still use the network" if users else ""


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: what it depends on has done it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    network = Network.objects.select_for_update().get(pk=operation.params["network"])
    if not ended.ok:
        if ended.state == OperationState.CANCELLED and _users(network).exists():
            transition(network, State.CREATED)  # nothing was taken away yet
        else:
            transition(network, State.ERROR, error_message=f"{ended.code}: {ended.message}")
        return
    attachment.release_egress(network.pk)
    Address.objects.filter(network=network).delete()
    CarrierLease.objects.filter(network=network).delete()
    transition(network, State.DELETED, deleted_at=UtcNow(), floating_gateway=None)


OPERATION = Kind(
    name="network_delete",
    stages=stages,
    finish=finish,
    ready=ready,
    coalesces=True,
    supersedes=True,
    priority=10,
)

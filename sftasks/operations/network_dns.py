"""Host a name on a network's resolver, or stop to. When the resolver cannot be told, the name is as it was before."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import engine, mesh
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NoCapacity, NotFound, NotReady
from sfweb.models import DnsEntry, Network, Operation
from sfweb.models.state import State

MAX_ENTRIES = 1000


@durable
def request(caller: Caller, network: Network, name: str, address: str | None) -> Accepted:
    """Let `name` stand for `address`; for None, for nothing. Raises NotReady without DNS, NotFound for an absent name."""
    row = Network.objects.select_for_update().get(pk=network.pk)
    if row.state != State.CREATED:
        raise NotReady(f"network {row.name} is {row.state}")
    if not row.provide_dns:
        raise NotReady(f"network {row.name} provides no DNS", code="network.no_dns")
    former = DnsEntry.objects.filter(network=row, name=name).values_list("address", flat=True).first()
    if former is None and address is None:
        raise NotFound(f"name not found: {name}")
    if former is None and DnsEntry.objects.filter(network=row).count() >= MAX_ENTRIES:
        raise NoCapacity(f"network {row.name} has {MAX_ENTRIES} names", stage="dns")
    _write(row.pk, name, address)
    operation = engine.submit(
        Wish(
            kind="network_dns",
            object_key=f"dns:{row.pk}:{name}"[:120],
            targets=[("network", row.pk)],
            params={"network": str(row.pk), "name": name, "address": address, "former": former},
            caller=caller,
            namespace=row.namespace_id,
        )
    )
    engine.depend(operation, mesh.refresh(row, caller))
    return Accepted(row, operation)


def _write(network: UUID, name: str, address: str | None) -> None:
    if address is None:
        DnsEntry.objects.filter(network_id=network, name=name).delete()
    else:
        DnsEntry.objects.update_or_create(network_id=network, name=name, defaults={"address": address})


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: what it depends on has told the resolver."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    """Put the former value back, unless a newer wish has replaced ours in the meantime."""
    if ended.ok:
        return
    facts = operation.params
    network = Network.objects.select_for_update().get(pk=facts["network"])
    now = DnsEntry.objects.filter(network=network, name=facts["name"]).values_list("address", flat=True).first()
    if now != facts["address"] or network.state == State.DELETED:
        return
    _write(network.pk, facts["name"], facts["former"])
    mesh.refresh(network, CLUSTER)


OPERATION = Kind(name="network_dns", stages=stages, finish=finish, priority=10)

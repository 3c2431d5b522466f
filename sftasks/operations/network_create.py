"""Create a network: VNI, addresses and carrier are decided in the request; it is created once its carrier serves it."""

import ipaddress
import uuid
from collections.abc import Sequence
from uuid import UUID

from sftasks import attachment, engine, mesh, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sftasks.plans import networks
from sfweb.domain import allocator, carriers, events, ipam, limits
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.specs import NewNetwork
from sfweb.domain.transactions import durable
from sfweb.errors import Invalid, NotFound
from sfweb.models import FLOATING, AddressKind, Namespace, Network, Operation
from sfweb.models.state import State, transition


def request(caller: Caller, wanted: NewNetwork) -> Accepted:
    """Raises NotFound, Invalid for a block that overlaps the outside, NoCapacity when VNIs or outside addresses ran out."""
    return _request(caller, wanted, uuid.uuid4())


@durable
def _request(caller: Caller, wanted: NewNetwork, identity: UUID) -> Accepted:
    owner = Namespace.objects.values_list("pk", flat=True).filter(name=wanted.namespace).first()
    if owner is None:
        raise NotFound(f"namespace not found: {wanted.namespace}")
    # Before its operation is written: the row refers to the namespace, and two that had both written one would deadlock.
    namespace = limits.lock_within(owner, networks=1)
    operation = engine.submit(
        Wish(
            kind="network_create",
            object_key=f"network:{identity}",
            targets=[("network", identity)],
            params={"network": str(identity)},
            caller=caller,
            namespace=owner,
        )
    )
    outside = Network.objects.get(pk=FLOATING)
    if ipaddress.IPv4Network(wanted.netblock).overlaps(ipam.block(outside)):
        raise Invalid(f"netblock: {wanted.netblock} overlaps the floating block {outside.netblock}")
    network = _write(wanted, namespace, identity)
    if wanted.provide_nat:
        address = ipam.reserve_random(outside, AddressKind.GATEWAY, "network", identity)
        Network.objects.filter(pk=identity).update(floating_gateway=address)
        network.floating_gateway = address
    _bring_carrier(network, operation, caller)
    return Accepted(network, operation)


def _write(wanted: NewNetwork, namespace: Namespace, identity: UUID) -> Network:
    network = Network.objects.create(
        uuid=identity,
        namespace=namespace,
        name=wanted.name,
        netblock=wanted.netblock,
        provide_dhcp=wanted.provide_dhcp,
        provide_nat=wanted.provide_nat,
        provide_dns=wanted.provide_dns,
        vni=allocator.allocate("vni", "network", identity),
    )
    ipam.open_block(network)
    return network


def _bring_carrier(network: Network, operation: Operation, caller: Caller) -> None:
    carrier = carriers.choose(network)
    if carrier is None:
        events.record("status", "no eligible carrier: the network has no services", [("network", network.pk)])
        return
    wishes.want(carrier.pk, "network", network.pk)
    bridge = engine.submit(networks.on_node(network, carrier.pk, caller))
    engine.depend(operation, [bridge, mesh.serve(network, carrier.pk, caller)])


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: what it depends on has done it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    network = Network.objects.select_for_update().get(pk=operation.params["network"])
    if ended.ok:
        transition(network, State.CREATED)
    elif network.state == State.INITIAL:
        transition(network, State.ERROR, error_message=f"{ended.code}: {ended.message}")
        attachment.dissolve(network, CLUSTER)


OPERATION = Kind(name="network_create", stages=stages, finish=finish, priority=10)

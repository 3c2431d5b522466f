"""Bringing shared objects to the node of an instance, and letting go of them when their last use there has ended (EN-20).

Called inside the transactions of operations: writes wishes and generations, submits the one-step operations that serve
them, and says which of those the caller has to wait for.
"""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import F

from nodeagent.wire import Outcome
from sftasks import engine, outside, wishes
from sftasks.plans import blobs, instances, networks, routers
from sfweb.domain import allocator, artifact_refs, ipam, placement, ports
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.models import (
    FLOATING,
    Artifact,
    Blob,
    CarrierLease,
    Instance,
    Interface,
    Network,
    NodeObject,
    Operation,
    Step,
    Wanted,
)
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, OperationState, State, transition

LIVING = (State.INITIAL, State.CREATED)


def bring_network(network: Network, node: UUID, caller: Caller) -> list[Operation]:
    """The network on the node and its guest known to the carrier; the operations that an instance there must wait for.

    The network must have been read under its lock. Peers that learn of a new member get their operation too, but nobody
    waits for them.
    """
    is_new = wishes.want(node, "network", network.pk)
    network.router_generation += 1
    network.mesh_generation += is_new
    Network.objects.filter(pk=network.pk).update(
        router_generation=network.router_generation, mesh_generation=network.mesh_generation
    )
    carrier = CarrierLease.objects.filter(network=network).values_list("node_id", flat=True).first()
    needed: list[Operation] = []
    for holder in wishes.holders("network", network.pk):
        if wishes.is_applied(holder, "network", network.pk, network.mesh_generation):
            continue
        operation = engine.submit(networks.on_node(network, holder, caller))
        if holder in (node, carrier):
            needed.append(operation)
    if carrier is not None:
        needed.append(serve(network, carrier, caller))
    return needed


def refresh(network: Network, caller: Caller) -> list[Operation]:
    """Something that the network's router is rendered from has changed; the operation that tells its carrier, if it has one.

    The network must have been read under its lock.
    """
    Network.objects.filter(pk=network.pk).update(router_generation=F("router_generation") + 1)
    carrier = CarrierLease.objects.filter(network=network).values_list("node_id", flat=True).first()
    return [] if carrier is None else [serve(network, carrier, caller)]


def serve(network: Network, carrier: UUID, caller: Caller) -> Operation:
    """The operation that brings the carrier's router up to date, after the network itself on that node."""
    wishes.want(carrier, "router", network.pk)
    router = engine.submit(routers.on_carrier(network, carrier, caller))
    bridge = Operation.objects.filter(
        object_key=f"network:{network.pk}@{carrier}", kind="network_on_node", state__in=OPEN_OPERATION
    )
    if router.state == OperationState.WAITING and not router.joined:
        engine.depend(router, bridge)
    return router


def bring_blob(blob: Blob, node: UUID, caller: Caller) -> Operation | None:
    """A copy of the blob on the node; None when one is there. The first node fetches, others wait for it and copy."""
    _wish_blob(blob, node, present=True)
    row = NodeObject.objects.get(node_id=node, object_type="blob", object_uuid=blob.pk)
    if wishes.is_applied(node, "blob", blob.pk, row.generation or 1):
        return None
    first = blobs.first_fetch(blob, node)
    operation = engine.submit(blobs.on_node(blob, node, caller))
    if first is not None and not operation.joined:
        engine.depend(operation, [first])
    return operation


def drop_blob(blob: Blob, caller: Caller = CLUSTER) -> list[Operation]:
    """Take the blob away from every node that should hold it."""
    dropped = []
    for holder in wishes.holders("blob", blob.pk):
        if _wish_blob(blob, holder, present=False):
            dropped.append(engine.submit(blobs.on_node(blob, holder, caller)))
    return dropped


def discard_blob(blob: Blob, caller: Caller = CLUSTER) -> bool:
    """Take the blob away for good when no artifact and no instance is made of it any more."""
    locked = Blob.objects.select_for_update().get(pk=blob.pk)
    if locked.state == State.DELETED or artifact_refs.is_referenced(blob.pk):
        return False
    transition(locked, State.DELETED)
    drop_blob(locked, caller)
    return True


def trim_versions(artifact: Artifact, caller: Caller = CLUSTER) -> None:
    """Drop the oldest versions beyond `max_versions`; the artifact's row must be locked."""
    versions = artifact.versions.select_related("blob").order_by("-index")
    for version in versions[artifact.max_versions :]:
        version.delete()
        discard_blob(version.blob, caller)


def _wish_blob(blob: Blob, node: UUID, *, present: bool) -> bool:
    """Write the wish for one copy; a blob's content never changes, so the copy itself carries the generation (EN-1)."""
    changed = wishes.want(node, "blob", blob.pk) if present else wishes.retract(node, "blob", blob.pk)
    if changed:
        rows = NodeObject.objects.filter(node_id=node, object_type="blob", object_uuid=blob.pk)
        rows.filter(generation__isnull=True).update(generation=0)
        rows.update(generation=F("generation") + 1)
    return changed


def leave(instance: Instance, caller: Caller = CLUSTER) -> None:
    """End every interface of the instance, and the networks' presence on its node where that was their last use."""
    cards = list(Interface.objects.filter(instance=instance, state__in=LIVING).order_by("network_id", "order"))
    floating = {card.pk: card.floating for card in cards if card.floating}
    for card in cards:
        transition(card, State.DELETED, mac=None, former_mac=card.mac, deleted_at=UtcNow(), floating=None)
    for network in dict.fromkeys(card.network_id for card in cards):
        locked = Network.objects.select_for_update().get(pk=network)
        told = leave_network(locked, instance.node_id, caller)
        for card in cards:
            if card.network_id == network and card.pk in floating:
                outside.withdraw(locked, floating[card.pk], told, caller, interface=card.pk)


def leave_network(network: Network, node: UUID | None, caller: Caller) -> list[Operation]:
    """A use of the network on `node` has ended; the operations by which its router learns that. Call under its row's lock."""
    Network.objects.filter(pk=network.pk).update(router_generation=F("router_generation") + 1)
    carrier = CarrierLease.objects.filter(network=network).values_list("node_id", flat=True).first()
    in_use = Interface.objects.filter(network=network, state__in=LIVING)
    if network.state == State.DELETE_WAIT and not in_use.exists():
        return dissolve(network, caller)
    if node is not None and node != carrier and not in_use.filter(instance__node_id=node).exists():
        retire(network, [node], caller)
    return [] if carrier is None else [serve(network, carrier, caller)]


def retire(network: Network, nodes: Iterable[UUID], caller: Caller) -> list[Operation]:
    """Take the network away from `nodes` and tell the mesh that is left; the operations of those that lose it."""
    leaving = set(nodes)
    for node in leaving:
        wishes.retract(node, "network", network.pk)
    Network.objects.filter(pk=network.pk).update(mesh_generation=F("mesh_generation") + 1)
    for holder in wishes.holders("network", network.pk):
        engine.submit(networks.on_node(network, holder, caller))
    held = [node for node in wishes.lingering("network", network.pk) if node in leaving]
    return [engine.submit(networks.on_node(network, node, caller)) for node in held]


def dissolve(network: Network, caller: Caller) -> list[Operation]:
    """Take the network away from everywhere, also where that was tried before; its waiting `network_delete` waits for it."""
    for node in wishes.holders("router", network.pk):
        wishes.retract(node, "router", network.pk)
    Network.objects.filter(pk=network.pk).update(router_generation=F("router_generation") + 1)
    held = wishes.lingering("router", network.pk)
    routers_first = [engine.submit(routers.on_carrier(network, node, caller)) for node in held]
    gone = list(routers_first)
    everywhere = [*wishes.holders("network", network.pk), *wishes.lingering("network", network.pk)]
    for bridge in retire(network, everywhere, caller):
        if not bridge.joined:
            engine.depend(
                bridge, [row for row in routers_first if row.object_key.endswith(bridge.object_key.partition("@")[2])]
            )
        gone.append(bridge)
    for waiting in Operation.objects.filter(
        object_key=f"network:{network.pk}", kind="network_delete", state=OperationState.WAITING
    ):
        engine.depend(waiting, gone)
        engine.after_commit(engine.advance, waiting.pk)
    return gone


def release_egress(network: UUID) -> bool:
    """Give the network's outside address back, unless a node may still answer for it: a residue keeps it (EN-12)."""
    if wishes.lingering("router", network):
        return False
    ipam.release_owned(network, [FLOATING])
    return True


def release(instance: Instance) -> bool:
    """Give back room, addresses, MACs and ports, unless the node may still hold the guest: a residue keeps them (EN-12)."""
    held = NodeObject.objects.filter(object_type="instance", object_uuid=instance.pk).exclude(
        wanted=Wanted.ABSENT, applied_wanted=Wanted.ABSENT
    )
    if held.exists():
        return False
    placement.release(instance)
    allocator.release_all("instance", instance.pk)
    for interface, network in Interface.objects.filter(instance=instance).values_list("pk", "network_id"):
        allocator.release_all("interface", interface)
        ipam.release_owned(interface, [network])  # an outside address waits for the router, not for the guest
    if instance.state == State.DELETED:
        for blob in (
            Blob.objects.filter(disks__instance=instance).exclude(state=State.DELETED).distinct().order_by("pk")
        ):
            discard_blob(blob)
    return True


def mend_ports(operation: Operation, step: Step, outcome: Outcome) -> bool:
    """A port that a stranger on the host holds rests, and the instance gets another (GA-9). For a kind's `mend`."""
    if outcome.code != "port.taken":
        return False
    instance = Instance.objects.select_for_update().get(pk=step.object_uuid)
    if not ports.replace_taken(instance, int(outcome.result.get("port", 0))):
        return False
    instances.raise_generation(instance.pk)
    return True

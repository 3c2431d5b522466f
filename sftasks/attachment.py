"""Bringing shared objects to the node of an instance, and letting go of them when their last use there has ended (EN-20).

Called inside the transactions of operations: writes wishes and generations, submits the one-step operations that serve
them, and says which of those the caller has to wait for.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet

from nodeagent.wire import Outcome
from sftasks import engine, mesh, outside, wishes
from sftasks.operation import Wish
from sftasks.plans import blobs, instances, routers
from sfweb.domain import (
    agent_operations,
    allocator,
    artifact_refs,
    blob_copies,
    carriers,
    ipam,
    ports,
    reservations,
)
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.models import (
    FLOATING,
    AgentOperation,
    Artifact,
    ArtifactKind,
    ArtifactVersion,
    Blob,
    Instance,
    Interface,
    Network,
    NodeObject,
    Operation,
    OperationDependency,
    SnapshotSet,
    Step,
    Wanted,
)
from sfweb.models.fields import UtcNow
from sfweb.models.state import OperationState, State, transition

LIVING = (State.INITIAL, State.CREATED, State.DELETE_WAIT)
"""A card that is still being unplugged uses its network."""


def bring_blob(blob: Blob, node: UUID, caller: Caller) -> Operation | None:
    """A copy of the blob on the node; None when one is there. The first node fetches, others wait for it and copy."""
    if caller != CLUSTER:
        Blob.objects.filter(pk=blob.pk).update(last_used=UtcNow())
    _wish_blob(blob, node, present=True)
    row = NodeObject.objects.get(node_id=node, object_type="blob", object_uuid=blob.pk)
    if wishes.is_applied(node, "blob", blob.pk, row.generation or 1):
        return None
    first = blobs.first_fetch(blob, node)
    operation = engine.submit(blobs.on_node(blob, node, caller))
    if first is not None and not operation.joined:
        engine.depend(operation, [first])
    return operation


def blob_arrived(blob: Blob, node: UUID, facts: Mapping[str, Any]) -> None:
    """The node holds verified bytes of the blob, whose row is locked; the first arrival makes the blob."""
    if blob.state != State.INITIAL:
        blob_copies.remember(blob, node, facts)
        return
    transition(
        blob,
        State.CREATED,
        size=facts["size"],
        sha512=facts["sha512"],
        format=facts["format"],
        virtual_size=facts["virtual_size"],
        validators=facts.get("validators") or {},
        fetched_at=UtcNow(),
        error_message=None,
    )
    blob_copies.remember(blob, node, facts)
    for artifact in Artifact.objects.filter(versions__blob=blob, state__in=(State.INITIAL, State.ERROR)):
        transition(artifact, State.CREATED, error_message=None)


def fetch_again(blob: Blob) -> bool:
    """An image that a node could not fetch, for a cause of its own, is a version that is still to come again.

    False when no instance is made of it. Its row must be locked.
    """
    users = Instance.objects.filter(Q(disks__blob=blob) | Q(nvram_blob=blob)).exclude(state=State.DELETED)
    user = users.select_related("namespace").first()
    if user is None:
        return False
    transition(blob, State.INITIAL, error_message=None)
    artifact = artifact_refs.image_artifact(user.namespace, blob.source_url)
    if artifact_refs.newest_version(artifact, *artifact_refs.USABLE) is None:
        artifact_refs.attach_version(artifact, blob)
    return True


def fetch_after(blob: Blob, node: UUID) -> list[Operation] | None:
    """The node that waited for another's fetch, which failed, fetches by itself or waits for one that does; None: in vain.

    The blob's row must be locked.
    """
    if blob.state == State.DELETED or (blob.state == State.ERROR and not fetch_again(blob)):
        return None
    _wish_blob(blob, node, present=True)
    first = blobs.first_fetch(blob, node, leads=True)
    return [first] if first else []


def blob_made(blob: Blob, node: UUID, facts: Mapping[str, Any]) -> None:
    """The node has made the bytes of a new blob by itself: it holds them as if it had been told to."""
    _wish_blob(blob, node, present=True)
    NodeObject.objects.filter(node_id=node, object_type="blob", object_uuid=blob.pk).update(
        applied_generation=F("generation"), applied_wanted=Wanted.PRESENT, confirmed_at=UtcNow()
    )
    blob_arrived(blob, node, facts)


def blob_not_made(blob: Blob, node: UUID, caller: Caller = CLUSTER) -> None:
    """The node was asked to make the blob and may have done so or not: nobody wants it any more."""
    if blob.state != State.DELETED:
        transition(blob, State.DELETED)
    _wish_blob(blob, node, present=True)
    NodeObject.objects.filter(node_id=node, object_type="blob", object_uuid=blob.pk).update(confirmed_at=UtcNow())
    drop_blob(blob, caller)


def forget_agent_operation(identity: UUID, caller: Caller = CLUSTER) -> int:
    """Its end, and that of a file that was fetched for it and nothing else needs; 1. Raises Conflict while it is open."""
    row = AgentOperation.objects.select_for_update().get(pk=identity)
    agent_operations.forget(row)
    if row.blob_id:
        discard_blob(Blob.objects.get(pk=row.blob_id), caller)
    return 1


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


def version_wish(kind: str, artifact: Artifact, blob: Blob, caller: Caller, **more: str) -> Wish:
    """An operation that makes `blob` a version of the artifact."""
    return Wish(
        kind=kind,
        object_key=f"artifact:{artifact.pk}",
        targets=[("artifact", artifact.pk), ("blob", blob.pk)],
        params={"artifact": str(artifact.pk), "blob": str(blob.pk), **more},
        caller=caller,
        namespace=artifact.namespace_id,
    )


def settle_version(artifact: Artifact, blob: Blob, caller: Caller = CLUSTER) -> None:
    """The artifact's new version has its bytes: a repetition of the one before goes, and so does what is beyond the limit.

    Not of snapshots: whoever asked for one waits for just that blob. Both rows must be locked.
    """
    if artifact.state in (State.INITIAL, State.ERROR):
        transition(artifact, State.CREATED, error_message=None)
    versions = artifact.versions.filter(blob__state=State.CREATED).exclude(blob=blob)
    before = versions.select_related("blob").order_by("-index").first()
    repeated = before is not None and before.blob.sha512 == blob.sha512 and artifact.kind != ArtifactKind.SNAPSHOT
    if repeated:
        artifact.versions.filter(blob=blob).delete()
        discard_blob(blob, caller)
    trim_versions(artifact, caller)


def withdraw_version(artifact: Artifact, blob: Blob, caller: Caller = CLUSTER) -> None:
    """The version whose bytes never came is none, and keeps no good one from its place. Both rows must be locked."""
    if blob.state == State.ERROR:
        artifact.versions.filter(blob=blob).delete()
        discard_blob(blob, caller)


def trim_versions(artifact: Artifact, caller: Caller = CLUSTER) -> None:
    """Of those that no schedule made, drop the oldest beyond `max_versions`; the artifact's row must be locked."""
    _drop_oldest(artifact.versions.filter(snapshot_set__schedule_uuid=None), artifact.max_versions, caller)


def trim_scheduled(artifact: Artifact, schedule: UUID, keep: int) -> None:
    """Of the whole ones that this schedule made, drop the oldest beyond `keep`; the artifact's row must be locked."""
    own = artifact.versions.filter(snapshot_set__schedule_uuid=schedule, blob__state=State.CREATED)
    _drop_oldest(own, keep, CLUSTER)


def _drop_oldest(versions: QuerySet[ArtifactVersion], keep: int, caller: Caller) -> None:
    for version in versions.select_related("blob").order_by("-index")[keep:]:
        drop_version(version, caller)


def drop_version(version: ArtifactVersion, caller: Caller = CLUSTER) -> None:
    """The version goes, and a captured set of snapshots with its last. The artifact's row must be locked."""
    version.delete()
    discard_blob(version.blob, caller)
    if version.snapshot_set_id is not None:
        ended = SnapshotSet.objects.filter(state__in=(State.CREATED, State.ERROR), versions=None)
        for snapshot in ended.select_for_update().filter(pk=version.snapshot_set_id):
            transition(snapshot, State.DELETED, deleted_at=UtcNow())


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
    cards = Interface.objects.filter(instance=instance, state__in=LIVING)
    end_interfaces(list(cards.order_by("network_id", "order")), instance.node_id, caller)


def end_interfaces(cards: Sequence[Interface], node: UUID | None, caller: Caller = CLUSTER) -> None:
    """These interfaces are no more; `node` is their instance's. In the order of their networks, which are locked here."""
    floating = {card.pk: card.floating for card in cards if card.floating}
    for card in cards:
        transition(card, State.DELETED, mac=None, former_mac=card.mac, deleted_at=UtcNow(), floating=None)
    for network in dict.fromkeys(card.network_id for card in cards):
        locked = Network.objects.select_for_update().get(pk=network)
        told = leave_network(locked, node, caller)
        for card in cards:
            if card.network_id == network and card.pk in floating:
                outside.withdraw(locked, floating[card.pk], told, caller, interface=card.pk)


def tell_routers(instance: Instance, caller: Caller) -> None:
    """The carriers of the instance's networks learn what has changed about it, such as its name."""
    cards = Interface.objects.filter(instance=instance, state__in=LIVING)
    for network in Network.objects.select_for_update().filter(pk__in=cards.values("network_id")).order_by("pk"):
        mesh.refresh(network, caller)


def leave_network(network: Network, node: UUID | None, caller: Caller) -> list[Operation]:
    """A use of the network on `node` has ended; the operations by which its router learns that. Call under its row's lock."""
    Network.objects.filter(pk=network.pk).update(router_generation=F("router_generation") + 1)
    carrier = carriers.carrier_of(network.pk)
    in_use = Interface.objects.filter(network=network, state__in=LIVING)
    if network.state == State.DELETE_WAIT and not in_use.exists():
        return dissolve(network, caller)
    if node is not None:
        leave_mesh(network, node, caller)
    return [] if carrier is None else [mesh.serve(network, carrier, caller, gathers=True)]


def leave_mesh(network: Network, node: UUID, caller: Caller) -> None:
    """The network goes from the node where neither a guest nor its router needs it. Call under its row's lock."""
    guests = Interface.objects.filter(network=network, state__in=LIVING, instance__node_id=node)
    if (
        node != carriers.carrier_of(network.pk)
        and not guests.exists()
        and node in wishes.holders("network", network.pk)
    ):
        mesh.retire(network, [node], caller)


def dissolve(network: Network, caller: Caller) -> list[Operation]:
    """Take the network away from everywhere, also where that was tried before; its waiting `network_delete` waits for it."""
    for node in wishes.holders("router", network.pk):
        wishes.retract(node, "router", network.pk)
    Network.objects.filter(pk=network.pk).update(router_generation=F("router_generation") + 1)
    held = wishes.lingering("router", network.pk)
    routers_first = [engine.submit(routers.on_carrier(network, node, caller)) for node in held]
    gone = list(routers_first)
    everywhere = [*wishes.holders("network", network.pk), *wishes.lingering("network", network.pk)]
    for bridge in mesh.retire(network, everywhere, caller):
        before = [row for row in routers_first if row.object_key.endswith(bridge.object_key.partition("@")[2])]
        # While both were to come the router waited for the bridge, which may gather still: now it goes first.
        OperationDependency.objects.filter(operation__in=before, needs=bridge).delete()
        engine.depend(bridge, before)
        for router in before:
            engine.after_commit(engine.advance, router.pk)
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
    if may_be_held(instance):
        return False
    reservations.release(instance)
    allocator.release_all("instance", instance.pk)
    for interface, network in Interface.objects.filter(instance=instance).values_list("pk", "network_id"):
        release_interface(interface, network)
    if instance.state == State.DELETED:
        used = Blob.objects.filter(Q(disks__instance=instance) | Q(nvram_of=instance))
        for blob in used.exclude(state=State.DELETED).distinct().order_by("pk"):
            discard_blob(blob)
    return True


def may_be_held(instance: Instance) -> bool:
    """A node should hold the guest, or has not confirmed that it does not."""
    return wishes.may_hold("instance", instance.pk).exists()


def release_interface(interface: UUID, network: UUID) -> None:
    """Give back its MAC and its address inside the network; an outside address waits for the router, not for the guest."""
    allocator.release_all("interface", interface)
    ipam.release_owned(interface, [network])


def mend_ports(operation: Operation, step: Step, outcome: Outcome) -> bool:
    """A port that a stranger on the host holds rests, and the instance gets another (GA-9). For a kind's `mend`."""
    if outcome.code != "port.taken":
        return False
    instance = Instance.objects.select_for_update().get(pk=step.object_uuid)
    if not ports.replace_taken(instance, int(outcome.result.get("port", 0))):
        return False
    instances.raise_generation(instance.pk)
    return True

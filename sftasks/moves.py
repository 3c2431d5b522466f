"""An instance that changes its node, as rows: what it needs there, the switch itself, and what it leaves behind.

Called inside the transactions of operations. The carriers of its networks hear nothing of it: its
addresses are where they were. Until the former node has confirmed that nothing of the instance is left on it, room and
ports there stay taken.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from django.db.models import QuerySet

from sftasks import attachment, mesh, wishes
from sfweb.domain import affinity, allocator, events, limits, placement, ports, reservations
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.metadata import metadata_of
from sfweb.domain.placement_rules import NODES_SHOWN, Asked, Offer
from sfweb.domain.transactions import part
from sfweb.errors import Conflict, NoCapacity
from sfweb.models import (
    Blob,
    Instance,
    Network,
    Operation,
    PlacementReservation,
    Step,
)
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition

OF_ONE_NODE = frozenset(
    {
        "disk.full",
        "image.unsupported",
        "memory.full",
        "network.vni_taken",
        "node.missing",
        "node.unsupported",
        "port.taken",
    }
)
"""Why an instance cannot be made on one node although it may be on another."""
MORE_NODES = 2
"""So many others are tried after the first."""


def unlike(node: UUID | None, facts: dict[str, object], nodes: Sequence[tuple[UUID, dict[str, object]]]) -> set[UUID]:
    """Those of the nodes to which a running guest cannot go from `node`: another accelerator, another processor."""
    named = ("acceleration", "cpu_model")
    own = [facts.get(name) for name in named]
    return {pk for pk, theirs in nodes if pk != node and [theirs.get(name) for name in named] != own}


def still_holding(instance: UUID) -> set[UUID]:
    """Nodes that may have something of an earlier stay of the instance: it goes to none of them."""
    return set(wishes.may_hold("instance", instance).values_list("node_id", flat=True))


def bring(
    instance: Instance, node: UUID, blobs: Collection[UUID], caller: Caller, *, is_new: bool = False
) -> list[Operation]:
    """What the instance shares with others comes to the node; the operations that it has to wait for. Its row is locked.

    `is_new`: the carriers of its networks may not know it yet.
    """
    bring_network = mesh.bring_network if is_new else mesh.bring_mesh
    needed = []
    for blob in Blob.objects.select_for_update().filter(pk__in=blobs).order_by("pk"):
        operation = attachment.bring_blob(blob, node, caller)
        needed += [operation] if operation else []
    for network in _networks(instance):
        needed += bring_network(network, node, caller)
    return needed


def blobs_of(instance: Instance) -> set[UUID]:
    """The blobs that the instance lies on."""
    rows = instance.disks.exclude(state=State.DELETE_WAIT).filter(blob__isnull=False).values_list("blob_id", flat=True)
    return set(rows) | ({instance.nvram_blob_id} if instance.nvram_blob_id else set())


def find_place(
    instance: Instance, placed_on: str | None, unfit: Collection[UUID], refused: Mapping[UUID, str] | None = None
) -> tuple[Offer, Asked]:
    """Take the room that the instance has where it is on another node too; its namespace must be locked (AF-3).

    `refused`: nodes that refused to start it, with their reasons.
    Raises NotFound for an unknown node, NoCapacity or Conflict with a reason for each node.
    """
    assert instance.node_id is not None, "it is somewhere"
    metadata = metadata_of("instance", [instance.pk])[instance.pk]
    asked = Asked(
        room=reservations.held(instance, instance.node_id),
        namespace=instance.namespace_id,
        placed_on=placed_on,
        tags=affinity.tags_of(metadata),
        affinity=affinity.affinity_of(metadata),
        blobs=frozenset(blobs_of(instance)),
        unfit=frozenset(unfit),
        refused=refused or {},
    )
    return placement.place([asked], moving=True)[0], asked


def place_again(operation: Operation, node: UUID, code: str, message: str) -> Sequence[Operation] | None:
    """The instance that could not be made on the node gets its place on another: what it has to wait for there.

    None, and nothing has changed but what `params` tells, when the cause is not the node's own, the node was the only one
    that was wanted (SC-13), may have started the guest unheard, or no other has room.
    """
    known = Instance.objects.get(pk=operation.params["instance"])
    refused = [*operation.params.get("refused", ()), {"node": str(node), "code": code, "message": message}]
    if code not in OF_ONE_NODE or known.node_id != node or known.requested_placement or known.state != State.CREATING:
        return None
    if (code == "node.missing" and _may_have_started(operation, node)) or _lost_images(known).exists():
        return None
    operation.params = {**operation.params, "refused": refused}
    needs = None
    if len(refused) > MORE_NODES:
        operation.params["nowhere"] = f"{len(refused)} nodes have refused it"
    else:
        needs = _take_another(known, refused, operation)
    operation.save(update_fields=["params"])
    return needs


def _may_have_started(operation: Operation, node: UUID) -> bool:
    return Step.objects.filter(operation=operation, node=node, first_sent_at__isnull=False).exists()


def _broken_images(instance: Instance) -> QuerySet[Blob]:
    return Blob.objects.filter(pk__in=blobs_of(instance), state=State.ERROR)


def _lost_images(instance: Instance) -> QuerySet[Blob]:
    """What no other node can get either."""
    return _broken_images(instance).exclude(source_url__startswith="http")


def _fetch_again(instance: Instance) -> None:
    """Images that the node could not fetch, for a cause of its own, are fetched by the next one."""
    for blob in _broken_images(instance).select_for_update().order_by("pk"):
        attachment.fetch_again(blob)


def _take_another(
    known: Instance, refused: Sequence[Mapping[str, str]], operation: Operation
) -> list[Operation] | None:
    said = {UUID(each["node"]): f"{each['code']}: {each['message']}" for each in refused}
    limits.lock(known.namespace_id)
    try:
        with part():  # without a port for it the room is given back
            offer, asked = find_place(known, None, still_holding(known.pk), said)
            row = Instance.objects.select_for_update().get(pk=known.pk)
            taken = claim(row, offer, asked, replace(CLUSTER, request_id=operation.request_id))
    except (NoCapacity, Conflict) as error:
        nearest = error.details.get("nodes", [])[-NODES_SHOWN:]
        operation.params["nowhere"] = f"{error}: {', '.join(' '.join((one['node'], one['stage'])) for one in nearest)}"
        events.record_on(operation, "audit", "no other node takes it", extra=error.details)
        return None
    _fetch_again(row)
    switch(row, offer.node, taken)
    settle(row)
    return bring(row, offer.node, blobs_of(row), CLUSTER, is_new=True)


def claim(instance: Instance, offer: Offer, asked: Asked, caller: Caller) -> dict[str, int]:
    """Write down the room that was taken on the node, and take the two ports that the instance gets there."""
    reservations.record({instance.pk: offer}, [asked], caller.request_id)
    pool = ports.pool_of(offer.node)
    return {name: allocator.allocate(pool, "instance", instance.pk) for name in ("console_port", "vdi_port")}


def switch(instance: Instance, node: UUID, taken: dict[str, int]) -> None:
    """From now on the instance is on that node, and its former one is to let go of it. Its row is locked."""
    if instance.node_id is not None:
        wishes.retract(instance.node_id, "instance", instance.pk)
    wishes.want(node, "instance", instance.pk)
    instance.node_id, instance.console_port, instance.vdi_port = node, taken["console_port"], taken["vdi_port"]
    instance.generation += 1
    instance.save(update_fields=["node", "console_port", "vdi_port", "generation"])


def leave(instance: Instance, node: UUID, caller: Caller = CLUSTER) -> None:
    """The instance is not on that node (any more, or after all): its networks go from there where nobody else needs them."""
    for network in _networks(instance):
        attachment.leave_mesh(network, node, caller)
    settle(instance)


def arrived(instance: Instance) -> None:
    """It is on its node as wished, its cards with it, and its room is in use. Its row is locked."""
    transition(instance, State.CREATED, error_message=None, observed_power=instance.power, power_observed_at=UtcNow())
    reservations.consume(instance)
    for card in instance.interfaces.filter(state=State.INITIAL):
        transition(card, State.CREATED)


def settle_all_on(node: UUID) -> None:
    """The node was given up: what had room on it, though it is elsewhere or deleted, has it no more."""
    for instance in Instance.objects.select_for_update().filter(reservations__node=node).order_by("pk").distinct():
        if instance.state == State.DELETED:
            attachment.release(instance)
        elif instance.node_id != node:
            settle(instance)


def settle(instance: Instance) -> None:
    """Give back room and ports on nodes where nothing of the instance is left. Harmless when repeated."""
    rows = PlacementReservation.objects.filter(instance=instance).exclude(node_id__in=still_holding(instance.pk))
    rows = rows.exclude(node=instance.node)
    for node in rows.order_by("node_id").values_list("node_id", flat=True):
        reservations.leave(instance, node)
        allocator.release_all("instance", instance.pk, ports.pool_of(node))


def _networks(instance: Instance) -> Sequence[Network]:
    """Locked, in the order of their uuids."""
    cards = instance.interfaces.filter(state__in=attachment.LIVING)
    return list(Network.objects.select_for_update().filter(pk__in=cards.values("network_id")).order_by("pk"))

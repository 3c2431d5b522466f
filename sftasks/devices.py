"""Disks and interfaces of an instance: how their rows come, and how they end once its node has done what the rows say.

A device that is to come is `initial`, one that is to go `delete-wait`; both are wishes in the instance's rows, which its node
gets like any other. `settle` makes good in the rows what the node has confirmed. What the operations on devices have in
common is here too.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from uuid import UUID

from sftasks import attachment, engine, outside, wishes
from sftasks.operation import Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain import allocator, artifact_refs, ipam, pending, reservations
from sfweb.domain.callers import CLUSTER
from sfweb.domain.rows import insert
from sfweb.domain.specs import NewDisk, NewInterface
from sfweb.errors import Conflict, NotFound, NotReady
from sfweb.models import AddressKind, Blob, Instance, Interface, Network, Operation
from sfweb.models.state import State, transition

BUS_LETTERS = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "nvme": "nvme"}
CONFIG_DRIVE_INDEX = 1
"""With a config drive the second disk device is the drive's own, so a second data disk is the third (vdc)."""
GIB = 2**30


def device_name(bus: str, index: int) -> str:
    """vda, vdb, … or sda, …; NVMe disks have numbers."""
    return f"nvme{index}n1" if bus == "nvme" else f"{BUS_LETTERS[bus]}{chr(ord('a') + index)}"


def free_device(instance: Instance, bus: str) -> str:
    """The first name for one more disk that no disk of the instance has, nor its config drive."""
    taken = set(instance.disks.values_list("device", flat=True))
    first = CONFIG_DRIVE_INDEX + 1 if instance.config_drive else 1
    return next(name for index in range(first, 26) if (name := device_name(bus, index)) not in taken)


def room_gb(disk: NewDisk, blob: Blob | None) -> int:
    """What a disk counts on its node. The size of an image that has not arrived yet is not known."""
    return disk.size_gb or (-(-(blob.virtual_size or 1) // GIB) if blob else 1)


def require_usable(network: Network) -> None:
    if network.state == State.INITIAL:
        raise NotReady(f"network {network.name} is not ready yet")
    if network.state != State.CREATED:
        raise NotFound(f"network not found: {network.name} is {network.state}")


def lock_blobs(blobs: Iterable[Blob | None]) -> list[Blob]:
    """Those that there are, under their locks, in the order of their uuids. Raises NotFound for one that is of no use."""
    wanted = {blob.pk for blob in blobs if blob is not None}
    if not wanted:
        return []
    rows = list(Blob.objects.select_for_update().filter(pk__in=wanted).order_by("pk"))
    for row in rows:
        if row.state not in artifact_refs.USABLE:
            raise NotFound(f"blob {row.pk} is {row.state}: {row.error_message or ''}")
    return rows


def lock_created(instance: UUID) -> Instance:
    """The instance under its lock. Raises NotReady unless it is created, Conflict while it is being moved."""
    row = Instance.objects.select_for_update().get(pk=instance)
    if row.state != State.CREATED:
        raise NotReady(f"instance {row.name} is {row.state}")
    pending.require_unmoved(row.pk)
    return row


def require_unpaused(instance: Instance) -> None:
    """A paused guest lets go of nothing."""
    if instance.power == "paused":
        raise Conflict(f"instance {instance.name} is paused: its guest lets go of nothing", code="instance.power")


def write_interfaces(
    instance: Instance, cards: Sequence[NewInterface], networks: Sequence[Network], first: int = 0
) -> list[Interface]:
    """Take MACs and addresses and write the interfaces, `initial`, in order from `first` on."""
    rows = [
        (Interface(network=network, instance=instance, order=order, model=card.model), card)
        for order, (card, network) in enumerate(zip(cards, networks, strict=True), first)
    ]
    return write_cards(rows)


def write_cards(wanted: Sequence[tuple[Interface, NewInterface]]) -> list[Interface]:
    """The same for interfaces of many instances, whose rows lack what is taken here: chosen numbers first, then any."""
    for row, card in wanted:
        if card.mac is not None:
            row.mac = _take_mac(card.mac, row.pk)
        if card.address is not None:
            row.address = ipam.reserve_fixed(row.network, card.address, AddressKind.INSTANCE, "interface", row.pk)
        if card.floating:
            row.floating = outside.reserve(row.network, AddressKind.FLOATING, "interface", row.pk)
    _take_any_macs([row for row, card in wanted if card.mac is None])
    _take_any_addresses([row for row, card in wanted if card.address is None and not card.no_address])
    rows = [row for row, _ in wanted]
    insert(rows)
    return rows


def _take_mac(wanted: str, interface: UUID) -> str:
    try:
        return allocator.mac_text(allocator.allocate("mac", "interface", interface, value=allocator.mac_value(wanted)))
    except Conflict:
        raise Conflict(f"MAC address {wanted} is in use", code="mac.in_use") from None


def _take_any_macs(rows: Sequence[Interface]) -> None:
    values = allocator.allocate_many("interface", {"mac": [row.pk for row in rows]})["mac"] if rows else []
    for row, value in zip(rows, values, strict=True):
        row.mac = allocator.mac_text(value)


def _take_any_addresses(rows: Sequence[Interface]) -> None:
    for network in {row.network_id: row.network for row in rows}.values():
        there = [row for row in rows if row.network_id == network.pk]
        taken = ipam.reserve_many(network, AddressKind.INSTANCE, "interface", [row.pk for row in there])
        for row, address in zip(there, taken, strict=True):
            row.address = address


def change(name: str, retract: Callable[[Operation], None]) -> Kind:
    """The kind of an operation that changes an instance's devices or size; `retract` takes its wish back in the rows."""
    return Kind(
        name=name,
        stages=_stages,
        finish=partial(_finish, retract=retract),
        retract=retract,
        mend=attachment.mend_ports,
        priority=10,
    )


def _stages(operation: Operation) -> Sequence[Stage]:
    """The instance as its rows say now, on its node."""
    return [[instances.step(Instance.objects.get(pk=operation.params["instance"]), "ensure_instance")]]


def _finish(operation: Operation, ended: Ended, retract: Callable[[Operation], None]) -> None:
    """End a change of an instance. One that never reached its node takes its wish back here, and the node hears of that.

    A wish that was parked, or whose node is missing, stays in the rows (EN-9, EN-12).
    """
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    stays = ended.ok or ended.parked or ended.code == "node.missing"
    if not stays and not operation.params.get("retracted"):
        retract(operation)
        if instance.state == State.CREATED and ended.code != "superseded":
            engine.submit(instances.on_node(instance, CLUSTER))
    settle(instance)


def settle(instance: Instance) -> None:
    """The node has done what the rows say: what was to come is there, what was to go is gone, with all that it took.

    Does nothing while a newer wish is on its way. The instance's row must be locked.
    """
    instance.refresh_from_db()
    if instance.state != State.CREATED or instance.node_id is None:
        return
    if not wishes.is_applied(instance.node_id, "instance", instance.pk, instance.generation):
        return
    for card in instance.interfaces.filter(state=State.INITIAL):
        transition(card, State.CREATED)
    for disk in instance.disks.filter(state=State.INITIAL):
        transition(disk, State.CREATED)
    _end_interfaces(instance)
    for disk in instance.disks.filter(state=State.DELETE_WAIT).select_related("blob"):
        disk.delete()
        if disk.blob is not None:
            attachment.discard_blob(disk.blob)
    reservations.settle(instance, reservations.room_of(instance))


def _end_interfaces(instance: Instance) -> None:
    gone = list(instance.interfaces.filter(state=State.DELETE_WAIT).order_by("network_id", "order"))
    attachment.end_interfaces(gone, instance.node_id)
    for card in gone:
        attachment.release_interface(card.pk, card.network_id)

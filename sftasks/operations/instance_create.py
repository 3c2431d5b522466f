"""Create an instance: everything is decided and written in one transaction, then one step makes it true on its node."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sftasks import attachment, devices, engine, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sftasks.plans import instances
from sfweb.domain import artifact_refs, limits, placement, ports
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_namespace, find_network
from sfweb.domain.rows import insert
from sfweb.domain.specs import NewDisk, NewInstance
from sfweb.domain.transactions import durable
from sfweb.models import (
    Blob,
    Disk,
    Instance,
    Metadata,
    Namespace,
    Network,
    Operation,
)
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What the request's references turned out to be."""

    namespace: Namespace
    blobs: tuple[Blob | None, ...]
    nvram: Blob | None
    networks: tuple[Network, ...]


def request(caller: Caller, wanted: NewInstance) -> Accepted:
    """Place and write the instance; raises NotFound, NotReady, Conflict or NoCapacity, and then nothing is left."""
    return _request(caller, wanted, uuid.uuid4())


@durable
def _request(caller: Caller, wanted: NewInstance, identity: UUID) -> Accepted:
    chosen = _choose(caller, wanted)
    operation = engine.submit(
        Wish(
            kind="instance_create",
            object_key=f"instance:{identity}",
            targets=[("instance", identity)],
            params={"instance": str(identity)},
            caller=caller,
            namespace=chosen.namespace.pk,
        )
    )
    room = _room(wanted, chosen)
    offer = placement.claim(room, wanted.placed_on)
    networks = _lock_parents(chosen, room)
    instance = _write_instance(wanted, chosen, identity, offer.node)
    placement.record(instance, room)
    _write_disks(instance, wanted.disks, chosen.blobs)
    devices.write_interfaces(instance, wanted.interfaces, chosen.networks)
    wishes.want_new(offer.node, "instance", identity)
    engine.depend(operation, _bring_shared(instance, chosen, networks, caller))
    return Accepted(instance, operation)


def _choose(caller: Caller, wanted: NewInstance) -> _Chosen:
    """Resolve every reference; networks are named in the instance's namespace (NI-1)."""
    namespace = find_namespace(caller, wanted.namespace)
    blobs = tuple(artifact_refs.resolve(caller, disk.base, namespace) for disk in wanted.disks)
    nvram = artifact_refs.resolve(caller, wanted.nvram_template, namespace)
    owner = Caller(namespace=namespace.name, namespace_uuid=namespace.pk)
    networks = tuple(find_network(owner, card.network, namespace.name) for card in wanted.interfaces)
    for network in networks:
        devices.require_usable(network)
    return _Chosen(namespace=namespace, blobs=blobs, nvram=nvram, networks=networks)


def _room(wanted: NewInstance, chosen: _Chosen) -> placement.Room:
    sizes = [devices.room_gb(disk, blob) for disk, blob in zip(wanted.disks, chosen.blobs, strict=True)]
    return placement.Room(cpus=wanted.cpus, memory_mb=wanted.memory_mb, disk_gb=sum(sizes))


def _lock_parents(chosen: _Chosen, room: placement.Room) -> list[Network]:
    """The networks as they are under their locks; the namespace, which has room for one more instance (SE-12).

    A reference locks its parent, so that a delete that counts children sees it or comes first (EN-7); by type, then uuid.
    """
    devices.lock_blobs([*chosen.blobs, chosen.nvram])
    wanted = {network.pk for network in chosen.networks}
    networks = list(Network.objects.select_for_update().filter(pk__in=wanted).order_by("pk"))
    for network in networks:
        devices.require_usable(network)
    limits.lock_within(chosen.namespace.pk, instances=1, disk_gb=room.disk_gb)
    return networks


def _write_instance(wanted: NewInstance, chosen: _Chosen, identity: UUID, node: UUID) -> Instance:
    console, vdi, cid = ports.allocate(node, identity)
    instance = Instance(
        uuid=identity,
        namespace=chosen.namespace,
        name=wanted.name,
        state=State.CREATING,
        node_id=node,
        requested_placement=wanted.placed_on,
        cpus=wanted.cpus,
        memory_mb=wanted.memory_mb,
        ssh_key=wanted.ssh_key,
        user_data=wanted.user_data,
        config_drive=wanted.config_drive,
        video=dict(wanted.video),
        uefi=wanted.uefi,
        secure_boot=wanted.secure_boot,
        nvram_template=wanted.nvram_template,
        nvram_blob=chosen.nvram,
        machine_type="q35" if wanted.uefi else "pc",
        side_channels=list(wanted.side_channels),
        console_port=console,
        vdi_port=vdi,
        vsock_cid=cid,
    )
    insert([instance])
    insert(
        [
            Metadata(object_type="instance", object_uuid=identity, key=key, value=value)
            for key, value in wanted.metadata.items()
        ]
    )
    return instance


def _write_disks(instance: Instance, disks: Sequence[NewDisk], blobs: Sequence[Blob | None]) -> None:
    rows = []
    for number, (disk, blob) in enumerate(zip(disks, blobs, strict=True)):
        index = number + 1 if instance.config_drive and number >= devices.CONFIG_DRIVE_INDEX else number
        rows.append(
            Disk(
                instance=instance,
                position=number,
                device=devices.device_name(disk.bus, index),
                bus=disk.bus,
                kind=disk.kind,
                size_gb=disk.size_gb,
                room_gb=devices.room_gb(disk, blob),
                base=disk.base,
                blob=blob,
            )
        )
    insert(rows)


def _bring_shared(instance: Instance, chosen: _Chosen, networks: Sequence[Network], caller: Caller) -> list[Operation]:
    """What must be on the node before the guest: its blobs and networks, and the carrier's knowledge of it."""
    assert instance.node_id is not None
    needed: list[Operation] = []
    for blob in {blob.pk: blob for blob in (*chosen.blobs, chosen.nvram) if blob is not None}.values():
        operation = attachment.bring_blob(blob, instance.node_id, caller)
        needed += [operation] if operation else []
    for network in networks:
        needed += attachment.bring_network(network, instance.node_id, caller)
    return needed


def stages(operation: Operation) -> Sequence[Stage]:
    instance = Instance.objects.get(pk=operation.params["instance"])
    return [[instances.step(instance, "ensure_instance")]]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    if ended.ok:
        transition(instance, State.CREATED, observed_power=instance.power, power_observed_at=UtcNow())
        for card in instance.interfaces.filter(state=State.INITIAL):
            transition(card, State.CREATED)
        placement.consume(instance)
        return
    message = f"{ended.code}: {ended.message}" if ended.message else ended.code
    transition(instance, State.ERROR, error_message=message)
    if not ended.parked:
        retract(operation)
        attachment.leave(instance)
        attachment.release(instance)


def retract(operation: Operation) -> None:
    """The instance is not wanted any more; addresses and room stay taken until its node has confirmed that (EN-12)."""
    instance = Instance.objects.get(pk=operation.params["instance"])
    assert instance.node_id is not None
    wishes.retract(instance.node_id, "instance", instance.pk)
    instances.raise_generation(instance.pk)


OPERATION = Kind(
    name="instance_create",
    stages=stages,
    finish=finish,
    retract=retract,
    mend=attachment.mend_ports,
    creates=True,
    priority=10,
)

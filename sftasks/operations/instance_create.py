"""Create instances, one or a batch: everything is decided and written in one transaction, then one step each makes it true.

A single create is a batch of one: the same function chooses, places and writes (SC-30).
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sftasks import attachment, devices, engine, mesh, moves, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sftasks.plans import instances
from sfweb.domain import affinity, artifact_refs, claims, limits, placement, ports, reservations
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_network, lock_namespaces
from sfweb.domain.placement_rules import Asked, Offer, Room
from sfweb.domain.rows import insert
from sfweb.domain.specs import NewInstance, NewInterface
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound, SteadyfistError
from sfweb.models import (
    Blob,
    Disk,
    Instance,
    Interface,
    Metadata,
    Namespace,
    Network,
    Operation,
)
from sfweb.models.state import State, transition


class Batch(NamedTuple):
    """What was made, in the order in which it was asked for."""

    rows: Sequence[Instance]
    operations: Sequence[Operation]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """One instance that is to be, and what the references of its request turned out to be."""

    uuid: UUID
    wanted: NewInstance
    namespace: Namespace
    blobs: tuple[Blob | None, ...]
    nvram: Blob | None
    networks: tuple[Network, ...]

    @property
    def images(self) -> list[Blob]:
        """Each once."""
        return list({blob.pk: blob for blob in (*self.blobs, self.nvram) if blob is not None}.values())

    @property
    def asked(self) -> Asked:
        sizes = [devices.room_gb(disk, blob) for disk, blob in zip(self.wanted.disks, self.blobs, strict=True)]
        return Asked(
            room=Room(cpus=self.wanted.cpus, memory_mb=self.wanted.memory_mb, disk_gb=sum(sizes)),
            namespace=self.namespace.pk,
            placed_on=self.wanted.placed_on,
            tags=affinity.tags_of(self.wanted.metadata),
            affinity=affinity.affinity_of(self.wanted.metadata),
            blobs=frozenset(blob.pk for blob in self.images if blob.state == State.CREATED),
        )


def request(caller: Caller, wanted: NewInstance) -> Accepted:
    """Place and write the instance; raises NotFound, NotReady, Conflict or NoCapacity, and then nothing is left."""
    made = _requested(caller, [wanted], False)
    return Accepted(made.rows[0], made.operations[0])


def request_batch(caller: Caller, wanted: Sequence[NewInstance]) -> Batch:
    """Place and write all of them or none. What is wrong with one is raised with its number, from 0 on."""
    return _requested(caller, wanted, True)


def _requested(caller: Caller, wanted: Sequence[NewInstance], batch: bool) -> Batch:
    identities = [uuid.uuid4() for _ in wanted]
    with claims.telling():
        try:
            return _request(caller, wanted, identities, batch=batch, sure=False)
        except placement.Overtaken:
            return _request(caller, wanted, identities, batch=batch, sure=True)


def diagnose(caller: Caller, wanted: NewInstance) -> dict[str, Any]:
    """Where the instance would go and why not elsewhere. Whatever choosing its images has written is rolled back."""
    found: list[dict[str, Any]] = []
    try:
        _diagnose(caller, wanted, found)
    except _Enough:
        pass
    return found[0]


class _Enough(Exception):
    """Undoes a transaction whose result was wanted without its rows."""


@durable
def _diagnose(caller: Caller, wanted: NewInstance, found: list[dict[str, Any]]) -> None:
    chosen = _choose(caller, [wanted], [uuid.uuid4()], lock_namespaces(caller, [wanted.namespace]))
    found[:] = [placement.diagnose(chosen[0].asked)]
    raise _Enough


@durable
def _request(
    caller: Caller, wanted: Sequence[NewInstance], identities: Sequence[UUID], *, batch: bool, sure: bool
) -> Batch:
    spaces = lock_namespaces(caller, [one.namespace for one in wanted])
    chosen = _choose(caller, wanted, identities, spaces, batch)
    asked = [one.asked for one in chosen]
    _require_room(asked, spaces)
    operations = engine.submit_new([_wish(caller, one) for one in chosen])
    offers = dict(zip(identities, placement.place(asked, batch=batch, sure=sure), strict=True))
    networks = _lock_parents(chosen)
    rows = _write_instances(chosen, offers)
    reservations.record(offers, asked, caller.request_id)
    _write_disks(rows, chosen)
    _write_interfaces(rows, chosen)
    nodes = {identity: offer.node for identity, offer in offers.items()}
    wishes.want_new("instance", nodes)
    needed = _bring_shared(chosen, nodes, networks, caller)
    engine.depend_each([(operation, needed[one.uuid]) for operation, one in zip(operations, chosen, strict=True)])
    return Batch(rows, operations)


def _wish(caller: Caller, one: _Chosen) -> Wish:
    return Wish(
        kind="instance_create",
        object_key=f"instance:{one.uuid}",
        targets=[("instance", one.uuid)],
        params={"instance": str(one.uuid)},
        caller=caller,
        namespace=one.namespace.pk,
    )


def _choose(
    caller: Caller,
    wanted: Sequence[NewInstance],
    identities: Sequence[UUID],
    spaces: Mapping[str, Namespace],
    batch: bool = False,
) -> list[_Chosen]:
    """Resolve every reference, each once; networks are named in the instance's namespace (NI-1).

    The namespaces were locked before anything else: what is made for a reference refers to its namespace, so two that had
    both made something could not lock it any more. Neighbours by affinity are of the own one, so none comes meanwhile (AF-3).
    """
    blobs: dict[tuple[UUID, str | None], Blob | None] = {}
    networks: dict[tuple[UUID, str], Network] = {}
    chosen = []
    for index, (one, identity) in enumerate(zip(wanted, identities, strict=True)):
        with _numbered(index) if batch else nullcontext():
            if one.namespace not in spaces:
                raise NotFound(f"namespace not found: {one.namespace}")
            space = spaces[one.namespace]
            for base in (*(disk.base for disk in one.disks), one.nvram_template):
                if (space.pk, base) not in blobs:
                    blobs[space.pk, base] = artifact_refs.resolve(caller, base, space)
            owner = Caller(namespace=space.name, namespace_uuid=space.pk)
            for card in one.interfaces:
                if (space.pk, card.network) not in networks:
                    networks[space.pk, card.network] = _usable(find_network(owner, card.network, space.name))
            chosen.append(
                _Chosen(
                    uuid=identity,
                    wanted=one,
                    namespace=space,
                    blobs=tuple(blobs[space.pk, disk.base] for disk in one.disks),
                    nvram=blobs[space.pk, one.nvram_template],
                    networks=tuple(networks[space.pk, card.network] for card in one.interfaces),
                )
            )
    return chosen


@contextmanager
def _numbered(index: int) -> Iterator[None]:
    """Say which member of a batch it is that cannot be."""
    try:
        yield
    except SteadyfistError as error:
        error.args = (f"instances[{index}]: {error}",)
        error.details["index"] = index
        raise


def _usable(network: Network) -> Network:
    devices.require_usable(network)
    return network


def _require_room(asked: Sequence[Asked], spaces: Mapping[str, Namespace]) -> None:
    """The namespaces have room for what comes (SE-12)."""
    for namespace in spaces.values():
        theirs = [one for one in asked if one.namespace == namespace.pk]
        disk_gb = sum(one.room.disk_gb for one in theirs)
        limits.require_within(namespace, instances=len(theirs), disk_gb=disk_gb, waiting_operations=len(theirs))


def _lock_parents(chosen: Sequence[_Chosen]) -> dict[UUID, Network]:
    """The networks as they are under their locks.

    A reference locks its parent, so that a delete that counts children sees it or comes first (EN-7); by type, then uuid.
    """
    devices.lock_blobs(blob for one in chosen for blob in one.images)
    wanted = {network.pk for one in chosen for network in one.networks}
    networks = {row.pk: row for row in Network.objects.select_for_update().filter(pk__in=wanted).order_by("pk")}
    for network in networks.values():
        devices.require_usable(network)
    return networks


def _write_instances(chosen: Sequence[_Chosen], offers: Mapping[UUID, Offer]) -> list[Instance]:
    numbers = ports.allocate({identity: offer.node for identity, offer in offers.items()})
    rows = [_instance(one, offers[one.uuid].node, *numbers[one.uuid]) for one in chosen]
    insert(rows)
    insert(
        [
            Metadata(object_type="instance", object_uuid=one.uuid, key=key, value=value)
            for one in chosen
            for key, value in one.wanted.metadata.items()
        ]
    )
    return rows


def _instance(one: _Chosen, node: UUID, console: int, vdi: int, cid: int) -> Instance:
    wanted = one.wanted
    return Instance(
        uuid=one.uuid,
        namespace=one.namespace,
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
        nvram_blob=one.nvram,
        machine_type="q35" if wanted.uefi else "pc",
        side_channels=list(wanted.side_channels),
        console_port=console,
        vdi_port=vdi,
        vsock_cid=cid,
    )


def _write_disks(rows: Sequence[Instance], chosen: Sequence[_Chosen]) -> None:
    disks = []
    for instance, one in zip(rows, chosen, strict=True):
        for number, (disk, blob) in enumerate(zip(one.wanted.disks, one.blobs, strict=True)):
            index = number + 1 if instance.config_drive and number >= devices.CONFIG_DRIVE_INDEX else number
            disks.append(
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
    insert(disks)


def _write_interfaces(rows: Sequence[Instance], chosen: Sequence[_Chosen]) -> None:
    cards: list[tuple[Interface, NewInterface]] = []
    for instance, one in zip(rows, chosen, strict=True):
        for order, (card, network) in enumerate(zip(one.wanted.interfaces, one.networks, strict=True)):
            cards.append((Interface(network=network, instance=instance, order=order, model=card.model), card))
    devices.write_cards(cards)


def _bring_shared(
    chosen: Sequence[_Chosen], nodes: Mapping[UUID, UUID], networks: Mapping[UUID, Network], caller: Caller
) -> dict[UUID, list[Operation]]:
    """What must be on a node before each guest: its blobs and networks, and the carriers' knowledge of it. Each is asked once."""
    needed: dict[UUID, list[Operation]] = {one.uuid: [] for one in chosen}
    blobs = {(blob.pk, nodes[one.uuid]): blob for one in chosen for blob in one.images}
    copies = {key: attachment.bring_blob(blobs[key], key[1], caller) for key in sorted(blobs)}
    bridges = {}
    for identity, network in networks.items():
        where = {nodes[one.uuid] for one in chosen if any(identity == each.pk for each in one.networks)}
        bridges[identity] = mesh.bring_network_to(network, sorted(where), caller)
    for one in chosen:
        node = nodes[one.uuid]
        found = [copies[blob.pk, node] for blob in one.images]
        needed[one.uuid] += [operation for operation in found if operation is not None]
        for identity in dict.fromkeys(network.pk for network in one.networks):
            needed[one.uuid] += bridges[identity][node]
    return needed


def stages(operation: Operation) -> Sequence[Stage]:
    """A node that refused it has confirmed that nothing of it is left before the next one begins."""
    instance = Instance.objects.get(pk=operation.params["instance"])
    make = [instances.step(instance, "ensure_instance")]
    held = wishes.lingering("instance", instance.pk) if "refused" in operation.params else []
    clear = [instances.step_on(node, instance, "remove_instance") for node in held]
    return [clear, make] if clear else [make]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    if ended.ok:
        moves.arrived(instance)
        _leave_refusing(operation, instance)
        return
    reasons = [f"{ended.code}: {ended.message}" if ended.message else ended.code, operation.params.get("nowhere", "")]
    transition(instance, State.ERROR, error_message="; ".join(filter(None, reasons)))
    if not ended.parked:
        retract(operation)
        _leave_refusing(operation, instance)
        attachment.leave(instance)
        attachment.release(instance)


def _leave_refusing(operation: Operation, instance: Instance) -> None:
    """What was brought for it to nodes that then refused it."""
    for refused in operation.params.get("refused", ()):
        if UUID(refused["node"]) != instance.node_id:
            moves.leave(instance, UUID(refused["node"]))


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
    elsewhere=moves.place_again,
    creates=True,
    priority=10,
)

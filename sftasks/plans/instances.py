"""An instance on its node, rendered whole from its rows."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Greatest

from nodeagent.specs import CapturedDisk, DiskSpec, InstanceSpec, InterfaceSpec, Power, VideoSpec
from nodeagent.wire import dump
from sftasks import outcomes, statements
from sftasks.operation import PlannedStep, Served, Wish
from sfweb.domain import ipam
from sfweb.domain.callers import Caller
from sfweb.models import ArtifactVersion, Disk, Instance, Interface, Node, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import State


def wish(kind: str, instance: Instance, caller: Caller, *more: tuple[str, UUID], **params: Any) -> Wish:
    """An operation that writes the instance; `more` are its targets beside that."""
    return Wish(
        kind=kind,
        object_key=f"instance:{instance.pk}",
        targets=[("instance", instance.pk), *more],
        params={"instance": str(instance.pk), **params},
        caller=caller,
        namespace=instance.namespace_id,
    )


def on_node(instance: Instance, caller: Caller) -> Wish:
    """The operation that brings the node to what the instance's rows say now; for the reconciler of wishes (EN-13)."""
    return wish("instance_on_node", instance, caller)


def step(instance: Instance, action: str, **arguments: Any) -> PlannedStep:
    """One step on the instance's node."""
    assert instance.node_id is not None, "a placed instance has a node"
    return step_on(instance.node_id, instance, action, **arguments)


def step_on(node: UUID, instance: Instance, action: str, **arguments: Any) -> PlannedStep:
    return PlannedStep(node=node, action=action, object_type="instance", object_uuid=instance.pk, arguments=arguments)


def note_power(instance: Instance, operation: Operation) -> None:
    """The power that the operation's last word of the node was about."""
    power = (outcomes.facts(operation, "ensure_instance") or {}).get("power", instance.power)
    Instance.objects.filter(pk=instance.pk).update(observed_power=power, power_observed_at=UtcNow())


def raise_generation(instance: UUID) -> None:
    """Call in every transaction that changes what the instance is rendered from (EN-1)."""
    Instance.objects.filter(pk=instance).update(generation=F("generation") + 1)


def _generation(instance: UUID, node: UUID) -> int:
    return statements.generation("instances", "generation", instance)


def _advance(instance: UUID, node: UUID, above: int) -> None:
    Instance.objects.filter(pk=instance).update(generation=Greatest(F("generation"), above) + 1)


def _present(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = Instance.objects.select_related("namespace").get(pk=instance)
    return {"spec": dump(_spec(row, **arguments))} if row.node_id == node else None


def _spec(row: Instance, power: str = "", console_port: int = 0, vdi_port: int = 0) -> InstanceSpec:
    """The instance as its rows say, but for what is named."""
    video = row.video
    return InstanceSpec(
        instance=str(row.pk),
        name=row.name,
        namespace=row.namespace.name,
        cpus=row.cpus,
        memory_mb=row.memory_mb,
        power=Power(power or row.power),
        disks=tuple(_disks(row)),
        interfaces=tuple(_interface(card) for card in _cards(row)),
        config_drive=row.config_drive,
        console_port=console_port or row.console_port or 0,
        vdi_port=vdi_port or row.vdi_port or 0,
        vsock_cid=row.vsock_cid or 0,
        video=VideoSpec(model=video["model"], memory_kb=video["memory"], protocol=video["vdi"]),
        machine=row.machine_type,
        uefi=row.uefi,
        secure_boot=row.secure_boot,
        nvram=str(row.nvram_blob_id) if row.nvram_blob_id else None,
        guest_agent=bool(row.side_channels),
    )


def _arriving(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """To the node that the instance is on its way to, from the one where it is; None once it is there."""
    row = Instance.objects.select_related("namespace").get(pk=instance)
    if row.node_id == node:
        return None
    spec = _spec(row, console_port=arguments["console_port"], vdi_port=arguments["vdi_port"])
    return {"spec": dump(spec), "peer": str(row.node_id), "running": arguments["running"]}


def _leaving(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = Instance.objects.select_related("namespace").get(pk=instance)
    if row.node_id != node:
        return None
    address = Node.objects.values_list("mesh_address", flat=True).get(pk=arguments["target"])
    ports = {name: arguments[name] for name in ("console_port", "vdi_port")}
    return {"spec": dump(_spec(row)), "address": address, **ports}


def _disks(row: Instance) -> list[DiskSpec]:
    return [
        DiskSpec(
            device=disk.device,
            bus=disk.bus,
            kind=disk.kind,
            size_gb=disk.size_gb,
            blob=str(disk.blob_id) if disk.blob_id else None,
            revision=disk.revision,
        )
        for disk in row.disks.exclude(state=State.DELETE_WAIT).order_by("position")
    ]


def _cards(row: Instance) -> list[Interface]:
    living = row.interfaces.filter(state__in=(State.INITIAL, State.CREATED), mac__isnull=False)
    return list(living.select_related("network").order_by("order"))


def _interface(card: Interface) -> InterfaceSpec:
    network, gateway = card.network, ipam.gateway(card.network)
    if network.provide_dns:
        nameservers: tuple[str, ...] = (gateway,)
    else:
        nameservers = tuple(settings.DNS_SERVERS) if network.provide_nat else ()
    return InterfaceSpec(
        mac=card.mac or "",
        network=str(network.pk),
        vni=network.vni or 0,
        model=card.model,
        address=card.address,
        netblock=network.netblock,
        gateway=gateway,
        dhcp=network.provide_dhcp,
        nameservers=nameservers,
    )


def _captured(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The disks of a snapshot set that is still wanted, as their files are called now."""
    versions = ArtifactVersion.objects.filter(snapshot_set=arguments["snapshot"], snapshot_set__state=State.INITIAL)
    blobs = dict(versions.values_list("device", "blob_id"))
    disks = Disk.objects.filter(instance=instance, device__in=blobs).order_by("position")
    if not blobs or len(disks) != len(blobs):
        return None
    captured = [
        CapturedDisk(device=disk.device, revision=disk.revision, blob=str(blobs[disk.device])) for disk in disks
    ]
    return {
        "instance": str(instance),
        "disks": [dump(disk) for disk in captured],
        "quiesce": bool(arguments["quiesce"]),
    }


def _named(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"instance": str(instance), **arguments}


OBJECT = Served(
    type="instance",
    kind="instance_on_node",
    ensure="ensure_instance",
    remove="remove_instance",
    generation=_generation,
    newest=Subquery(Instance.objects.filter(pk=OuterRef("object_uuid")).values("generation")),
    advance=_advance,
    requests={
        "ensure_instance": _present,
        "remove_instance": _named,
        "reboot_instance": _named,
        "observe_instance": _named,
        "snapshot_instance": _captured,
        "receive_instance": _arriving,
        "migrate_instance": _leaving,
        "shut_down_instance": _named,
    },
)

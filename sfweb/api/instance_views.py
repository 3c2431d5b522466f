"""How instances are shown: the same number of queries for one and for a thousand."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from sfweb.api.base import seconds
from sfweb.api.interfaces import INTERFACE_COLUMNS, interface_views
from sfweb.domain.metadata import metadata_of
from sfweb.domain.pending import pending_among
from sfweb.models import Disk, Instance, Interface
from sfweb.models.state import State

CONFIG_DRIVE = {"device": "vdb", "bus": "virtio", "size": None, "blob_uuid": None, "snapshot_ignores": True}
DISK_COLUMNS = ("instance_id", "device", "bus", "kind", "size_gb", "base", "blob_id")
INSTANCE_COLUMNS = (
    *("uuid", "state", "name", "namespace__name", "node__name", "cpus", "memory_mb", "ssh_key", "user_data", "video"),
    *("uefi", "secure_boot", "nvram_template", "config_drive", "machine_type", "side_channels", "error_message"),
    *("agent_state", "agent_started_at", "agent_system_booted_at", "observed_power", "console_port", "vdi_port"),
    "requested_placement",
)
_WITH_DISKS = (State.CREATED, State.DELETE_WAIT, State.ERROR)


def plain(rows: "QuerySet[Instance]") -> "QuerySet[Any]":
    """Rows for `instance_views`, without models: making those takes longer than all else of a long list."""
    return rows.values_list(*INSTANCE_COLUMNS, named=True)


def instance_views(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """As the client reads instances, of rows by `plain`; four queries more."""
    uuids = [row.uuid for row in rows]
    disks: dict[Any, list[Any]] = defaultdict(list)
    for disk in Disk.objects.filter(instance__among=uuids).order_by("position").values_list(*DISK_COLUMNS, named=True):
        disks[disk.instance_id].append(disk)
    living = Interface.objects.filter(instance__among=uuids).exclude(state=State.DELETED).order_by("order")
    cards = list(living.values_list(*INTERFACE_COLUMNS, named=True))
    metadata = metadata_of(("instance", "interface"), [*uuids, *(card.uuid for card in cards)])
    interfaces: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for view in interface_views(cards, metadata):
        interfaces[view["instance_uuid"]].append(view)
    busy = pending_among("instance", uuids)
    return [
        _view(row, disks[row.uuid], interfaces[str(row.uuid)], metadata[row.uuid])
        | {"has_pending_operations": row.uuid in busy}
        for row in rows
    ]


def _view(
    row: Any, disks: Sequence[Disk], interfaces: list[dict[str, Any]], metadata: dict[str, Any]
) -> dict[str, Any]:
    view = {
        "uuid": str(row.uuid),
        "state": row.state,
        "metadata": metadata,
        "version": 1,
        "name": row.name,
        "namespace": row.namespace__name,
        "cpus": row.cpus,
        "memory": row.memory_mb,
        "disk_spec": [_disk_spec(disk) for disk in disks],
        "ssh_key": row.ssh_key,
        "user_data": row.user_data,
        "video": row.video,
        "uefi": row.uefi,
        "secure_boot": row.secure_boot,
        "nvram_template": row.nvram_template,
        "configdrive": "openstack-disk" if row.config_drive else "none",
        "machine_type": row.machine_type,
        "side_channels": row.side_channels,
        "agent_state": row.agent_state,
        "agent_start_time": seconds(row.agent_started_at),
        "agent_system_boot_time": seconds(row.agent_system_booted_at),
        "error_message": row.error_message,
        "interfaces": interfaces,
        "disks": _block_devices(row, disks),
        "agent_operations_queue": [],
        **_place(row),
    }
    if row.requested_placement:
        view["requested_placement"] = row.requested_placement
    return view


def _place(row: Any) -> dict[str, Any]:
    return {
        "node": row.node__name,
        "power_state": row.observed_power,
        "console_port": row.console_port,
        "vdi_port": row.vdi_port,
        "vdi_tls_port": None,
    }


def _disk_spec(disk: Disk) -> dict[str, Any]:
    return {
        "base": disk.base,
        "bus": disk.bus,
        "size": disk.size_gb or None,
        "type": disk.kind,
        "blob_uuid": str(disk.blob_id) if disk.blob_id else None,
    }


def block_device(disk: Disk) -> dict[str, Any]:
    return {
        "device": disk.device,
        "bus": disk.bus,
        "size": disk.size_gb or None,
        "blob_uuid": str(disk.blob_id) if disk.blob_id else None,
        "snapshot_ignores": disk.kind == "cdrom",
    }


def _block_devices(row: Any, disks: Sequence[Disk]) -> list[dict[str, Any]]:
    if row.state not in _WITH_DISKS:
        return []
    shown = [block_device(disk) for disk in disks]
    return [*shown[:1], CONFIG_DRIVE, *shown[1:]] if row.config_drive else shown

"""From what a caller asked for to an instance that may be requested.

The checks run in the order that the public interface promises: namespace, name, secure boot, placement, config drive,
disks, networks, video, metadata, side channels. What needs a lock or a claim is checked again by the request itself.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from sfweb.domain.artifact_refs import check_base
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_namespace, find_node
from sfweb.domain.metadata import check_all
from sfweb.domain.names import check_hostname
from sfweb.domain.specs import InstanceChange, NewDisk, NewInstance, NewInterface
from sfweb.errors import Invalid, NotFound
from sfweb.models import Namespace, Node

BUSES = ("virtio", "scsi", "sata", "usb", "nvme")
HOT_BUSES = ("virtio", "scsi")
"""On these a disk comes and goes while the guest runs."""
CDROM_BUSES = ("scsi", "sata", "usb")
DISK_KINDS = ("disk", "cdrom")
CONFIG_DRIVES = {"openstack-disk": True, "none": False}
CHANNELS = ("sf-agent", "sf-agent2")
CARD_MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")
VIDEO_MODELS = ("cirrus", "vga", "qxl", "virtio", "bochs", "none")
VIDEO_PROTOCOLS = ("spice", "vnc")
VIDEO_MEMORY_KB = (1024, 1048576)
MOST_AT_ONCE = 100
"""Instances of one batch."""
MAX_DISKS = 16
MAX_INTERFACES = 16
MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z")


def new_instance(caller: Caller, wanted: Mapping[str, Any], fetch_allow: Iterable[str]) -> NewInstance:
    """The checked wish. `wanted` has the public interface's own names and the right types. Raises Invalid or NotFound."""
    return _new_instance(caller, wanted, fetch_allow, partial(find_namespace, caller), find_node)


def _new_instance(
    caller: Caller,
    wanted: Mapping[str, Any],
    fetch_allow: Iterable[str],
    namespace_of: Callable[[str], Namespace],
    node_of: Callable[[str], Node],
) -> NewInstance:
    namespace = namespace_of(wanted.get("namespace", caller.namespace))
    check_hostname(wanted["name"])
    if wanted.get("secure_boot") and not wanted.get("uefi"):
        raise Invalid("secure_boot: needs uefi")
    nvram = _nvram_template(wanted, fetch_allow)
    if "placed_on" in wanted:
        node_of(wanted["placed_on"])
    config_drive = _config_drive(wanted.get("configdrive", "openstack-disk"))
    disks = new_disks(wanted.get("disk", ()), fetch_allow)
    interfaces = new_interfaces(wanted.get("network", ()))
    video = new_video(wanted.get("video", {}))
    metadata = wanted.get("metadata", {})
    check_all("instance", metadata)
    _check_user_data(wanted.get("user_data"))
    return NewInstance(
        name=wanted["name"],
        namespace=namespace.name,
        cpus=wanted["cpus"],
        memory_mb=wanted["memory"],
        disks=disks,
        interfaces=interfaces,
        ssh_key=wanted.get("ssh_key"),
        user_data=wanted.get("user_data"),
        video=video,
        config_drive=config_drive,
        metadata=metadata,
        side_channels=_channels(wanted.get("side_channels", CHANNELS)),
        uefi=wanted.get("uefi", False),
        secure_boot=wanted.get("secure_boot", False),
        nvram_template=nvram,
        placed_on=wanted.get("placed_on"),
    )


def _config_drive(name: str) -> bool:
    if name not in CONFIG_DRIVES:
        raise Invalid(f"configdrive: must be one of {', '.join(CONFIG_DRIVES)}")
    return CONFIG_DRIVES[name]


def new_instances(caller: Caller, wanted: Sequence[Mapping[str, Any]], fetch_allow: Iterable[str]) -> list[NewInstance]:
    """`new_instance` for each member of a batch; what is wrong is said with its number."""
    namespace_of, node_of = cache(partial(find_namespace, caller)), cache(find_node)
    checked = []
    for index, one in enumerate(wanted):
        try:
            checked.append(_new_instance(caller, one, fetch_allow, namespace_of, node_of))
        except Invalid as error:
            raise Invalid(f"instances[{index}].{error}", details={**error.details, "index": index}) from None
        except NotFound as error:
            raise NotFound(f"instances[{index}]: {error}", details={**error.details, "index": index}) from None
    return checked


def new_disks(wanted: Iterable[Mapping[str, Any]], fetch_allow: Iterable[str]) -> tuple[NewDisk, ...]:
    disks = tuple(new_disk(disk, fetch_allow, f"disk.{number}.") for number, disk in enumerate(wanted))
    if not 0 < len(disks) <= MAX_DISKS:
        raise Invalid(f"disk: an instance has 1 to {MAX_DISKS} disks")
    return disks


def new_disk(wanted: Mapping[str, Any], fetch_allow: Iterable[str], where: str = "") -> NewDisk:
    """One disk that is asked for; `where` is what its parameters' names begin with in an error."""
    kind = wanted.get("type", "disk")
    bus = wanted.get("bus", "sata" if kind == "cdrom" else "virtio")
    if bus not in BUSES:
        raise Invalid(f"{where}bus: must be one of {', '.join(BUSES)}")
    if kind not in DISK_KINDS:
        raise Invalid(f"{where}type: must be one of {', '.join(DISK_KINDS)}")
    if kind == "cdrom" and bus not in CDROM_BUSES:
        raise Invalid(f"{where}bus: a cdrom must be on one of {', '.join(CDROM_BUSES)}")
    base, size = wanted.get("base"), wanted.get("size", 0)
    if base in ("", "none"):
        base = None
    if base is None and not size:
        raise Invalid(f"{where}size: a disk without a base needs a size")
    if base is not None:
        check_base(base, fetch_allow, f"{where}base")
    return NewDisk(size_gb=size, base=base, bus=bus, kind=kind)


def _nvram_template(wanted: Mapping[str, Any], fetch_allow: Iterable[str]) -> str | None:
    """What the firmware's variables begin as: a reference like a disk's base."""
    template: str | None = wanted.get("nvram_template") or None
    if template is None:
        return None
    if not wanted.get("uefi"):
        raise Invalid("nvram_template: needs uefi")
    check_base(template, fetch_allow, "nvram_template")
    return template


def new_interfaces(wanted: Iterable[Mapping[str, Any]]) -> tuple[NewInterface, ...]:
    interfaces = tuple(new_interface(card, f"network.{number}") for number, card in enumerate(wanted))
    if len(interfaces) > MAX_INTERFACES:
        raise Invalid(f"network: an instance has at most {MAX_INTERFACES} interfaces")
    return interfaces


def new_interface(wanted: Mapping[str, Any], where: str = "network") -> NewInterface:
    """One network card that is asked for. An address that spells "none" means none at all."""
    model = wanted.get("model", "virtio")
    if model not in CARD_MODELS:
        raise Invalid(f"{where}.model: must be one of {', '.join(CARD_MODELS)}")
    mac = wanted.get("macaddress", "").lower() or None
    if mac is not None and not MAC.match(mac):
        raise Invalid(f"{where}.macaddress: must be a unicast MAC address")
    address: str | None = wanted.get("address") or None
    no_address = address is not None and address.lower() == "none"
    if address is not None and not no_address:
        _check_ipv4(address, f"{where}.address")
    if no_address and wanted.get("float"):
        raise Invalid(f"{where}.float: an interface without an address cannot float")
    return NewInterface(
        network=wanted["network_uuid"],
        address=None if no_address else address,
        no_address=no_address,
        mac=mac,
        model=model,
        floating=wanted.get("float", False),
    )


def instance_change(wanted: Mapping[str, Any]) -> InstanceChange:
    """The checked change of an instance that is there. Raises Invalid."""
    if not wanted:
        raise Invalid("body: says nothing that could change: name, cpus, memory, disk")
    if "name" in wanted:
        check_hostname(wanted["name"])
    disks = tuple((disk["device"], disk["size"]) for disk in wanted.get("disk", ()))
    if len({device for device, _ in disks}) != len(disks):
        raise Invalid("disk: a device is named twice")
    return InstanceChange(name=wanted.get("name"), cpus=wanted.get("cpus"), memory_mb=wanted.get("memory"), disks=disks)


def new_video(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Video as the guest gets it, with what was left out filled in. Memory in KiB."""
    video: dict[str, Any] = {"model": "cirrus", "memory": 16384, "vdi": "spice"} | dict(wanted)
    if video["model"] not in VIDEO_MODELS:
        raise Invalid(f"video.model: must be one of {', '.join(VIDEO_MODELS)}")
    if not VIDEO_MEMORY_KB[0] <= video["memory"] <= VIDEO_MEMORY_KB[1]:
        raise Invalid(f"video.memory: must be {VIDEO_MEMORY_KB[0]} to {VIDEO_MEMORY_KB[1]}")
    if video["vdi"] not in VIDEO_PROTOCOLS:
        raise Invalid(f"video.vdi: must be one of {', '.join(VIDEO_PROTOCOLS)}")
    return video


def _channels(wanted: Iterable[str]) -> tuple[str, ...]:
    for channel in wanted:
        if channel not in CHANNELS:
            raise Invalid(f"side_channels: {channel} is not one of {', '.join(CHANNELS)}")
    return tuple(dict.fromkeys(wanted))


def _check_user_data(value: str | None) -> None:
    try:
        base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("user_data: must be base64") from None


def _check_ipv4(value: str, parameter: str) -> None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise Invalid(f"{parameter}: is not an IPv4 address") from None

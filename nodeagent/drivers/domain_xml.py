"""The libvirt document of one instance, built element by element from its spec.

Disks name their whole chain, so libvirt probes no image; the console is a TCP socket on loopback with a log beside it;
graphics listen on the mesh address only, with a password that is not valid yet (SE-14, SE-15).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from nodeagent.drivers.acceleration import QEMU
from nodeagent.drivers.layout import DISK_SUFFIX, Layout
from nodeagent.nethelper import names
from nodeagent.specs import DiskSpec, InstanceSpec, InterfaceSpec

METADATA = "https://steadyfist.invalid/domain"
EXPIRED = "2000-01-01T00:00:00"
TRANSLATION_CACHE_MB = 64
# Devices that every guest has: config drive, controllers, video, channel, balloon, random numbers, vsock.
OWN_DEVICES = 8
SPARE_PORTS = 8
LOOPBACK = "127.0.0.1"
# libvirt's cut for VNC, whose protocol knows no longer ones.
PASSWORD_LENGTH = 8

ElementTree.register_namespace("sf", METADATA)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What of the node goes into a document.

    acceleration  kvm or tcg
    formats       {blob: qcow2 or raw} of every blob that the disks lie on
    mtus          {bridge: MTU}
    spice, vsock  whether the node has them
    """

    layout: Layout
    acceleration: str
    mesh_address: str
    formats: Mapping[str, str]
    mtus: Mapping[str, int]
    spice: bool
    vsock: bool


def tap_name(mac: str) -> str:
    """The host's end of a network card, at most 15 characters; a MAC is unique in the cloud, so this is on the node."""
    return f"tap{mac.replace(':', '')}"


def domain_name(instance: str) -> str:
    return f"sf-{instance}"


def render(spec: InstanceSpec, digest: str, around: Surroundings) -> str:
    """The whole document, with the spec's digest in its metadata."""
    root = Element("domain", type="kvm" if around.acceleration == "kvm" else "qemu")
    _text(root, "name", domain_name(spec.instance))
    _text(root, "uuid", spec.instance)
    _text(SubElement(root, "metadata"), f"{{{METADATA}}}spec", digest)
    _text(root, "memory", spec.memory_mb, unit="MiB")
    _text(root, "vcpu", spec.cpus)
    _add_firmware(root, spec, around)
    _add_features(root, spec, around)
    SubElement(root, "clock", offset="utc")
    for event, reaction in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(root, f"on_{event}", reaction)
    _add_devices(SubElement(root, "devices"), spec, around)
    return ElementTree.tostring(root, encoding="unicode")


def digest_in(document: Element) -> str | None:
    """The digest that `render` put into a document; None for a domain that is not ours."""
    return document.findtext(f"metadata/{{{METADATA}}}spec")


def disks_in(document: Element) -> tuple[str, ...]:
    """The files of a domain's disks, as `specs.disk_file` calls them; the config drive is not one of them."""
    sources = (_source(disk) for disk in document.iterfind("devices/disk"))
    return tuple(PurePath(source).name.removesuffix(DISK_SUFFIX) for source in sources if source.endswith(DISK_SUFFIX))


def macs_in(document: Element) -> tuple[str, ...]:
    return tuple(mac.get("address", "").lower() for mac in document.iterfind("devices/interface/mac"))


def _source(disk: Element) -> str:
    source = disk.find("source")
    return "" if source is None else source.get("file", "")


def disk_document(instance: str, disk: DiskSpec, around: Surroundings) -> str:
    """One disk, for a domain that runs already."""
    devices = Element("devices")
    _add_disk(devices, instance, disk, around)
    return ElementTree.tostring(devices[0], encoding="unicode")


def interface_document(interface: InterfaceSpec, around: Surroundings) -> str:
    """One network card, for a domain that runs already."""
    devices = Element("devices")
    _add_interface(devices, interface, around)
    return ElementTree.tostring(devices[0], encoding="unicode")


def _text(parent: Element, tag: str, text: Any, **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = str(text)
    return element


def _add_firmware(root: Element, spec: InstanceSpec, around: Surroundings) -> None:
    system = SubElement(root, "os", {"firmware": "efi"} if spec.uefi else {})
    _text(system, "type", "hvm", arch="x86_64", machine="q35" if spec.uefi else spec.machine)
    if spec.uefi:
        wanted = "yes" if spec.secure_boot else "no"
        features = SubElement(system, "firmware")
        for feature in ("secure-boot", "enrolled-keys"):
            SubElement(features, "feature", enabled=wanted, name=feature)
        _text(system, "nvram", around.layout.nvram(spec.instance))
    SubElement(system, "boot", dev="hd")


def _add_features(root: Element, spec: InstanceSpec, around: Surroundings) -> None:
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if spec.secure_boot:
        SubElement(features, "smm", state="on")
    if around.acceleration == "kvm":
        SubElement(root, "cpu", mode="host-passthrough")
        return
    _text(SubElement(features, "tcg"), "tb-cache", TRANSLATION_CACHE_MB, unit="MiB")
    _text(SubElement(root, "cpu", mode="custom", match="exact", check="none"), "model", "qemu64")


def _add_devices(devices: Element, spec: InstanceSpec, around: Surroundings) -> None:
    _text(devices, "emulator", QEMU)
    _add_ports(devices, spec)
    for disk in spec.disks:
        _add_disk(devices, spec.instance, disk, around)
    if any(disk.bus == "scsi" for disk in spec.disks):
        SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    if spec.config_drive:
        _add_config_drive(devices, spec, around)
    for interface in spec.interfaces:
        _add_interface(devices, interface, around)
    _add_console(devices, spec, around)
    _add_graphics(devices, spec, around)
    if spec.guest_agent:
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    if around.vsock:
        SubElement(SubElement(devices, "vsock", model="virtio"), "cid", auto="no", address=str(spec.vsock_cid))
    SubElement(devices, "memballoon", model="virtio")
    _text(SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def _add_ports(devices: Element, spec: InstanceSpec) -> None:
    """On a q35 machine each device needs a port of its own, and none can be made while the guest runs."""
    if not spec.uefi:
        return
    SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(len(spec.disks) + len(spec.interfaces) + OWN_DEVICES + SPARE_PORTS):
        SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _add_disk(devices: Element, instance: str, disk: DiskSpec, around: Surroundings) -> None:
    element = SubElement(devices, "disk", type="file", device=disk.kind)
    SubElement(element, "driver", name="qemu", type="qcow2", cache="none", discard="unmap")
    SubElement(element, "source", file=str(around.layout.disk(instance, disk.file)))
    chain = SubElement(element, "backingStore", {"type": "file"} if disk.blob else {})
    if disk.blob:
        SubElement(chain, "format", type=around.formats[disk.blob])
        SubElement(chain, "source", file=str(around.layout.blob(disk.blob)))
        SubElement(chain, "backingStore")
    SubElement(element, "target", dev=disk.device, bus=disk.bus)
    if disk.kind == "cdrom":
        SubElement(element, "readonly")


def _add_config_drive(devices: Element, spec: InstanceSpec, around: Surroundings) -> None:
    """A read-only virtio disk with the first free name from vdb on."""
    used = {disk.device for disk in spec.disks}
    device = next(name for name in (f"vd{letter}" for letter in "bcdefghijklmnopqrstuvwxyz") if name not in used)
    element = SubElement(devices, "disk", type="file", device="disk")
    SubElement(element, "driver", name="qemu", type="raw")
    SubElement(element, "source", file=str(around.layout.config_drive(spec.instance)))
    SubElement(element, "backingStore")
    SubElement(element, "target", dev=device, bus="virtio")
    SubElement(element, "readonly")


def _add_interface(devices: Element, interface: InterfaceSpec, around: Surroundings) -> None:
    bridge = names.bridge(interface.vni)
    element = SubElement(devices, "interface", type="bridge")
    SubElement(element, "source", bridge=bridge)
    SubElement(element, "mac", address=interface.mac)
    SubElement(element, "model", type=interface.model)
    SubElement(element, "target", dev=tap_name(interface.mac))
    SubElement(element, "mtu", size=str(around.mtus[bridge]))


def _add_console(devices: Element, spec: InstanceSpec, around: Surroundings) -> None:
    serial = SubElement(devices, "serial", type="tcp")
    SubElement(serial, "source", mode="bind", host=LOOPBACK, service=str(spec.console_port))
    SubElement(serial, "protocol", type="raw")
    SubElement(serial, "log", file=str(around.layout.console_log(spec.instance)), append="on")
    SubElement(serial, "target", port="0")


def _add_graphics(devices: Element, spec: InstanceSpec, around: Surroundings) -> None:
    devices.append(graphics(spec.video.protocol if around.spice else "vnc", spec.vdi_port, around.mesh_address))
    video = SubElement(SubElement(devices, "video"), "model", type=spec.video.model)
    if spec.video.model in ("cirrus", "vga", "qxl", "bochs"):
        video.set("vram", str(spec.video.memory_kb))


def graphics(protocol: str, port: int, address: str) -> Element:
    """The graphics element of a new domain; nobody knows its password, and its validity is over."""
    element = Element("graphics", type=protocol, autoport="no", port=str(port))
    element.set("passwd", secrets.token_urlsafe(32)[:PASSWORD_LENGTH])
    element.set("passwdValidTo", EXPIRED)
    SubElement(element, "listen", type="address", address=address)
    return element

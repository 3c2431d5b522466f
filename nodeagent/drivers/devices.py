"""Cards and disks of a running domain: given, taken and grown while the guest runs.

A device is taken only once its guest has let go of it; until then the domain still has it and the caller is told to try
again (`device.busy`). What QEMU cannot plug into this guest is refused (`device.refused`).
"""

import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt

from nodeagent.drivers.domains import Domains
from nodeagent.host import Refused, Retry

LET_GO_SECONDS = 8.0
LOOK_SECONDS = 0.25
AGAIN_SECONDS = 5.0
SCSI_CONTROLLER = "<controller type='scsi' model='virtio-scsi'/>"
_CANNOT = frozenset(
    {
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_FAILED,
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_XML_ERROR,
    }
)


class Devices:
    def __init__(self, domains: Domains) -> None:
        self._domains = domains

    def attach(self, instance: str, document: str) -> None:
        """Raises Refused("device.refused") when this guest cannot have it."""

        def act(domain: Any) -> None:
            for piece in (*_controllers(domain, document), document):
                try:
                    domain.attachDeviceFlags(piece, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                except libvirt.libvirtError as error:
                    if error.get_error_code() in _CANNOT and domain.isActive():
                        raise Refused("device.refused", str(error)) from error
                    raise

        self._domains.on(instance, act)

    def detach_interface(self, instance: str, mac: str) -> None:
        self._detach(instance, "interface", lambda device: _attribute(device, "mac", "address").lower() == mac)

    def detach_disk(self, instance: str, name: str) -> None:
        self._detach(instance, "disk", lambda device: _attribute(device, "target", "dev") == name)

    def resize(self, instance: str, name: str, size: int) -> None:
        """Tell the running guest that its disk has `size` bytes now."""
        self._domains.on(instance, lambda domain: domain.blockResize(name, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES))

    def _detach(self, instance: str, kind: str, is_meant: Callable[[Element], bool]) -> None:
        """Ask the guest to let go, and wait for it a little."""

        def find(domain: Any) -> Element | None:
            devices = ElementTree.fromstring(domain.XMLDesc(0)).iterfind(f"devices/{kind}")
            return next((device for device in devices if is_meant(device)), None)

        def act(domain: Any) -> None:
            device = find(domain)
            if device is None:
                return
            try:
                domain.detachDeviceFlags(
                    ElementTree.tostring(device, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE
                )
            except libvirt.libvirtError as error:
                # An earlier request that the guest has not answered yet.
                if "already in the process of unplug" not in str(error):
                    raise

        self._domains.on(instance, act)
        end = time.monotonic() + LET_GO_SECONDS
        while self._domains.on(instance, lambda domain: find(domain) is not None):
            if time.monotonic() > end:
                raise Retry("device.busy", f"the guest of {instance} has not let go of it", after=AGAIN_SECONDS)
            time.sleep(LOOK_SECONDS)


def _controllers(domain: Any, document: str) -> list[str]:
    """What the device needs and the domain lacks: libvirt would add a controller that few guests have a driver for."""
    if ElementTree.fromstring(document).find("target[@bus='scsi']") is None:
        return []
    present = ElementTree.fromstring(domain.XMLDesc(0)).find("devices/controller[@type='scsi']")
    return [SCSI_CONTROLLER] if present is None else []


def _attribute(device: Element, part: str, name: str) -> str:
    found = device.find(part)
    return "" if found is None else found.get(name, "")

"""Small valid specs of each kind, and a call that records, for tests of actions and drivers."""

import hashlib
import uuid
from typing import Any

from nodeagent.host import Refused
from nodeagent.specs import (
    BlobSource,
    BlobSpec,
    ConfigDrive,
    DiskSpec,
    InstanceSpec,
    InterfaceSpec,
    LeaseSpec,
    NetworkSpec,
    Power,
    RouterSpec,
)

INSTANCE = "6f1c9d0a-0000-4000-8000-000000000001"
NETWORK = "6f1c9d0a-0000-4000-8000-000000000002"
BLOB = "6f1c9d0a-0000-4000-8000-000000000003"
UPLOAD = "6f1c9d0a-0000-4000-8000-000000000004"
BUSES = ("virtio", "scsi", "sata", "usb", "nvme")
DISK_KINDS = ("disk", "cdrom")
CARD_MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")
VIDEO_MODELS = ("cirrus", "vga", "qxl", "virtio", "bochs", "none")
VIDEO_PROTOCOLS = ("spice", "vnc")
URL = "https://images.example.org/tiny.qcow2"


class RecordingCall:
    """The attempt as an action sees it; `cancel_at` is the percentage at which the control plane asks to stop."""

    def __init__(self, cancel_at: int = 101, ticket: tuple[str, str] = ("http://peer.invalid/", "ticket")) -> None:
        self.token = uuid.uuid4().hex
        self.percents: list[int] = []
        self.secrets_fetched = 0
        self.peers: list[tuple[str, str]] = []
        self.drive = ConfigDrive(hostname="guest", ssh_key="ssh-ed25519 AAAA test", user_data=None)
        self._cancel_at = cancel_at
        self._ticket = ticket

    def progress(self, percent: int) -> None:
        self.percents.append(percent)
        if percent >= self._cancel_at:
            raise Refused("cancelled")

    def config_drive(self) -> ConfigDrive:
        self.secrets_fetched += 1
        return self.drive

    def instance_ticket(self, instance: str, peer: str) -> tuple[str, str]:
        self.peers.append((instance, peer))
        return self._ticket

    def blob_ticket(self, blob: str, peer: str) -> tuple[str, str]:
        self.peers.append((blob, peer))
        return self._ticket


def network_spec(**changes: Any) -> NetworkSpec:
    return NetworkSpec(**{"network": NETWORK, "vni": 100, "peers": ("198.18.0.2",), **changes})


def router_spec(**changes: Any) -> RouterSpec:
    fields = {
        "network": NETWORK,
        "vni": 100,
        "netblock": "10.0.0.0/24",
        "gateway": "10.0.0.1",
        "dhcp": True,
        "dns": True,
        "domain": "example.test",
        "lease": LeaseSpec(epoch=1, seconds=60.0, rivals=False),
    }
    return RouterSpec(**{**fields, **changes})


def blob_spec(**changes: Any) -> BlobSpec:
    return BlobSpec(**{"blob": BLOB, "source": BlobSource(url=URL), **changes})


def disk_spec(**changes: Any) -> DiskSpec:
    return DiskSpec(**{"device": "vda", "bus": "virtio", "kind": "disk", "size_gb": 0, "blob": BLOB, **changes})


def interface_spec(**changes: Any) -> InterfaceSpec:
    fields = {
        "mac": "02:00:00:00:00:01",
        "network": NETWORK,
        "vni": 100,
        "model": "virtio",
        "address": "10.0.0.5",
        "netblock": "10.0.0.0/24",
        "gateway": "10.0.0.1",
        "dhcp": True,
        "nameservers": ("10.0.0.1",),
    }
    return InterfaceSpec(**{**fields, **changes})


def instance_spec(**changes: Any) -> InstanceSpec:
    fields = {
        "instance": INSTANCE,
        "name": "guest",
        "namespace": "tests",
        "cpus": 1,
        "memory_mb": 128,
        "power": Power.ON,
        "disks": (disk_spec(),),
        "interfaces": (interface_spec(),),
        "config_drive": True,
        "console_port": 30001,
        "vdi_port": 30002,
        "vsock_cid": 1000,
    }
    return InstanceSpec(**{**fields, **changes})


def sha512(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()

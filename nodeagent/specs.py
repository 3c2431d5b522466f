"""The desired state of one object on one node, as frozen dataclasses that are valid once they exist.

Rendered from rows by the control plane (`sftasks.plans`), carried in a step's request, checked again here on the node:
every name, address and number is validated at construction, so that nothing unchecked reaches a configuration file or
the kernel (SE-13). Sizes are MiB for memory and GiB for disks; addresses are dotted IPv4 text.
"""

import dataclasses
import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nodeagent.wire import dump

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
DOMAIN = re.compile(
    r"([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\Z"
)
MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z")
DEVICE = re.compile(r"(vd|sd|nvme)[a-z0-9]{1,6}\Z")
DISK_FILE = re.compile(r"(vd|sd|nvme)[a-z0-9]{1,6}(\.[1-9][0-9]{0,5})?\Z")
MAX_VNI = 2**24 - 1
FETCH_REFUSALS = frozenset(
    {"fetch.bad_url", "fetch.denied", "fetch.forbidden", "fetch.not_found", "fetch.redirects", "fetch.tls"}
)
"""Why an action that asks a web server may be refused."""
FETCH_BACKOFF = (15, 30, 60)
"""Seconds before each retry of such an action; there are no more (FR-2)."""
GUEST_REFUSALS = frozenset({"cancelled", "guest.off", "guest.refused"})
"""Why an action that speaks to a guest's agent may be refused."""


def _match(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.match(value):
        raise ValueError(f"{what}: {value!r} is not valid")


def _address(value: str, what: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{what}: {value!r} is not an IPv4 address") from None


def _within(value: float, low: float, high: float, what: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what}: {value} is not within {low} to {high}")


def require_uuid(value: str, what: str) -> None:
    """Raises ValueError unless `value` is a lower-case hyphenated UUID."""
    _match(UUID, value, what)


def require_address(value: str, what: str) -> None:
    """Raises ValueError unless `value` is a dotted IPv4 address."""
    _address(value, what)


def require_port(value: int, what: str) -> None:
    _within(value, 1024, 65535, what)


def require_vni(value: int) -> None:
    _within(value, 1, MAX_VNI, "vni")


def disk_device(file: str) -> str:
    """The device of a disk's file."""
    return file.partition(".")[0]


def disk_file(device: str, revision: int) -> str:
    """The name of a disk's file: a device whose content was replaced as a whole has a new one."""
    return f"{device}.{revision}" if revision else device


class Power(StrEnum):
    ON = "on"
    OFF = "off"
    PAUSED = "paused"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Bridge and VXLAN device of one network on one node; `peers` are the mesh addresses of the other nodes (HP-3)."""

    network: str
    vni: int
    peers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _match(UUID, self.network, "network")
        _within(self.vni, 1, MAX_VNI, "vni")
        for peer in self.peers:
            _address(peer, "peer")


@dataclass(frozen=True, kw_only=True)
class DhcpHost:
    """One fixed DHCP reservation, and with DNS the name it answers to."""

    mac: str
    address: str
    name: str

    def __post_init__(self) -> None:
        _match(MAC, self.mac, "mac")
        _address(self.address, "address")
        _match(HOSTNAME, self.name, "name")


@dataclass(frozen=True, kw_only=True)
class DnsRecord:
    name: str
    address: str

    def __post_init__(self) -> None:
        _match(DOMAIN, self.name, "name")
        _address(self.address, "address")


@dataclass(frozen=True, kw_only=True)
class EgressSpec:
    """The router's foot on the outside: its address with prefix length, and the default gateway there."""

    address: str
    prefix_length: int
    gateway: str

    def __post_init__(self) -> None:
        _address(self.address, "egress address")
        _address(self.gateway, "egress gateway")
        _within(self.prefix_length, 1, 32, "egress prefix length")


@dataclass(frozen=True, kw_only=True)
class FloatingAddress:
    """An outside address whose packets go to `target`, a guest's address inside the network (FL-5)."""

    address: str
    target: str

    def __post_init__(self) -> None:
        _address(self.address, "floating address")
        _address(self.target, "floating target")


@dataclass(frozen=True, kw_only=True)
class LeaseSpec:
    """The right to carry the network: `seconds` left when the message was rendered; no timeout without rivals (EN-11)."""

    epoch: int
    seconds: float
    rivals: bool


@dataclass(frozen=True, kw_only=True)
class RouterSpec:
    """What the carrier of one network runs: gateway address, DHCP, DNS, SNAT, and the outside addresses of its guests.

    Needs the network's bridge on this node. `routed` are outside addresses that guests hold themselves, without NAT.
    """

    network: str
    vni: int
    netblock: str
    gateway: str
    dhcp: bool
    dns: bool
    domain: str
    lease: LeaseSpec
    egress: EgressSpec | None = None
    hosts: tuple[DhcpHost, ...] = ()
    records: tuple[DnsRecord, ...] = ()
    upstream: tuple[str, ...] = ()
    floating: tuple[FloatingAddress, ...] = ()
    routed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _match(UUID, self.network, "network")
        _within(self.vni, 1, MAX_VNI, "vni")
        block = ipaddress.IPv4Network(self.netblock)
        self._check_outside(block)
        if _address(self.gateway, "gateway") not in block:
            raise ValueError("gateway: not inside the netblock")
        _match(DOMAIN, self.domain, "domain")
        for host in self.hosts:
            if ipaddress.IPv4Address(host.address) not in block:
                raise ValueError(f"host address {host.address}: not inside the netblock")
        for server in self.upstream:
            _address(server, "upstream")

    def _check_outside(self, block: ipaddress.IPv4Network) -> None:
        for each in self.floating:
            if ipaddress.IPv4Address(each.target) not in block:
                raise ValueError(f"floating target {each.target}: not inside the netblock")
        for address in self.routed:
            _address(address, "routed address")
        outside = self.outside
        if outside and self.egress is None:
            raise ValueError("floating and routed addresses need an egress")
        if len(set(outside)) != len(outside):
            raise ValueError("outside addresses: one is given twice")

    @property
    def outside(self) -> tuple[str, ...]:
        """The outside addresses that the router answers for, beside its own."""
        return (*(each.address for each in self.floating), *self.routed)


@dataclass(frozen=True, kw_only=True)
class BlobSource:
    """Where a node gets a blob's bytes: exactly one of a URL and a peer node.

    checksums  URL of a list of sums
    archive    another blob of the peer, of which this one is the bytes from `offset` on
    """

    url: str = ""
    peer: str = ""
    checksums: str = ""
    archive: str = ""
    offset: int = 0

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.peer):
            raise ValueError("source: exactly one of url and peer")
        if self.archive:
            _match(UUID, self.archive, "archive")
        if self.offset < 0 or (self.archive and not self.peer):
            raise ValueError("source: an archive is a peer's")


@dataclass(frozen=True, kw_only=True)
class BlobSpec:
    """An immutable file. `size` (bytes) and `sha512` are null until the first node fetched it.

    source_sha512  what arrives from the URL or the upload must have; an image of another format is converted after that
    verbatim       keep the bytes as they are, whatever they are: they are for no disk
    """

    blob: str
    source: BlobSource
    size: int | None = None
    sha512: str | None = None
    source_sha512: str | None = None
    verbatim: bool = False
    max_virtual_gb: int = 1024

    def __post_init__(self) -> None:
        _match(UUID, self.blob, "blob")


@dataclass(frozen=True, kw_only=True)
class DiskSpec:
    """One disk: a qcow2 overlay on `blob`, or empty when there is none; `size_gb` 0 keeps the blob's own size.

    revision  how often its content was replaced by that of a snapshot
    """

    device: str
    bus: str
    kind: str
    size_gb: int
    blob: str | None = None
    revision: int = 0

    @property
    def file(self) -> str:
        return disk_file(self.device, self.revision)

    def __post_init__(self) -> None:
        _match(DEVICE, self.device, "device")
        if self.bus not in ("virtio", "scsi", "sata", "usb", "nvme"):
            raise ValueError(f"bus: {self.bus!r} is not known")
        if self.kind not in ("disk", "cdrom"):
            raise ValueError(f"kind: {self.kind!r} is not known")
        _within(self.size_gb, 0, 65536, "size_gb")
        if self.blob is not None:
            _match(UUID, self.blob, "blob")


@dataclass(frozen=True, kw_only=True)
class CapturedDisk:
    """One disk that is to be captured as `blob`."""

    device: str
    revision: int
    blob: str

    def __post_init__(self) -> None:
        _match(DEVICE, self.device, "device")
        _match(UUID, self.blob, "blob")

    @property
    def file(self) -> str:
        return disk_file(self.device, self.revision)


@dataclass(frozen=True, kw_only=True)
class InterfaceSpec:
    """One network card on its network's bridge, and what the config drive says about it."""

    mac: str
    network: str
    vni: int
    model: str
    address: str | None
    netblock: str
    gateway: str
    dhcp: bool
    nameservers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _match(MAC, self.mac, "mac")
        _match(UUID, self.network, "network")
        _within(self.vni, 1, MAX_VNI, "vni")
        if self.model not in ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"):
            raise ValueError(f"model: {self.model!r} is not known")
        ipaddress.IPv4Network(self.netblock)


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    model: str = "cirrus"
    memory_kb: int = 16384
    protocol: str = "spice"

    def __post_init__(self) -> None:
        if self.model not in ("cirrus", "vga", "qxl", "virtio", "bochs", "none"):
            raise ValueError(f"video model: {self.model!r} is not known")
        if self.protocol not in ("spice", "vnc"):
            raise ValueError(f"vdi: {self.protocol!r} is not known")
        _within(self.memory_kb, 1024, 1048576, "video memory")


@dataclass(frozen=True, kw_only=True)
class InstanceSpec:
    """A whole instance. With `config_drive` its secrets (user data, keys) are fetched by token, never carried (SE-3)."""

    instance: str
    name: str
    namespace: str
    cpus: int
    memory_mb: int
    power: Power
    disks: tuple[DiskSpec, ...]
    interfaces: tuple[InterfaceSpec, ...]
    config_drive: bool
    console_port: int
    vdi_port: int
    vsock_cid: int
    video: VideoSpec = field(default_factory=VideoSpec)
    machine: str = "pc"
    uefi: bool = False
    secure_boot: bool = False
    guest_agent: bool = True
    nvram: str | None = None

    def __post_init__(self) -> None:
        _match(UUID, self.instance, "instance")
        _match(HOSTNAME, self.name, "name")
        _within(self.cpus, 1, 512, "cpus")
        _within(self.memory_mb, 16, 16 * 1024 * 1024, "memory_mb")
        _within(self.console_port, 1024, 65535, "console_port")
        _within(self.vdi_port, 1024, 65535, "vdi_port")
        if self.nvram is not None:
            _match(UUID, self.nvram, "nvram")
        if len({disk.device for disk in self.disks}) != len(self.disks):
            raise ValueError("disks: a device is named twice")


def spec_digest(spec: InstanceSpec) -> str:
    """What a domain was started from and keeps until its end, as hex.

    The power wish does not count, nor do disks and cards, which are compared one by one, nor names, which it does not know.
    """
    lasting = dataclasses.replace(spec, power=Power.ON, disks=(), interfaces=(), name="any", namespace="")
    return hashlib.sha256(json.dumps(dump(lasting), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ConfigDrive:
    """The secret part of a config drive, as `/internal/steps/<token>/secrets` hands it out."""

    hostname: str
    ssh_key: str | None = None
    user_data: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

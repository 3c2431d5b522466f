"""What a caller wants, checked field by field at the edge and still without any row: the input of `request` functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NewDisk:
    """`base` null: blank. `size_gb` 0: as large as the base."""

    size_gb: int = 0
    base: str | None = None
    bus: str = "virtio"
    kind: str = "disk"


@dataclass(frozen=True, kw_only=True)
class NewInterface:
    """`network` is a uuid or a name in the instance's namespace. Without `address` a random one, unless `no_address`."""

    network: str
    address: str | None = None
    no_address: bool = False
    mac: str | None = None
    model: str = "virtio"
    floating: bool = False


@dataclass(frozen=True, kw_only=True)
class NewInstance:
    """An instance that is asked for. Memory in MiB; `user_data` base64; `placed_on` a node's name when it is forced."""

    name: str
    namespace: str
    cpus: int
    memory_mb: int
    disks: tuple[NewDisk, ...] = ()
    interfaces: tuple[NewInterface, ...] = ()
    ssh_key: str | None = None
    user_data: str | None = None
    video: Mapping[str, Any] = field(default_factory=lambda: {"model": "cirrus", "memory": 16384, "vdi": "spice"})
    config_drive: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    side_channels: tuple[str, ...] = ("sf-agent", "sf-agent2")
    uefi: bool = False
    secure_boot: bool = False
    nvram_template: str | None = None
    placed_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class InstanceChange:
    """What of an instance is to change; null stays. `disks` are (device, new size in GiB)."""

    name: str | None = None
    cpus: int | None = None
    memory_mb: int | None = None
    disks: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewNetwork:
    """A network that is asked for; `netblock` is a strict IPv4 CIDR of /29 or larger."""

    name: str
    namespace: str
    netblock: str
    provide_dhcp: bool = True
    provide_nat: bool = True
    provide_dns: bool = False


@dataclass(frozen=True, kw_only=True)
class NewArtifact:
    """An image to fetch from `url`; `sha512` (hex) is checked when given."""

    url: str
    namespace: str
    shared: bool = False
    sha512: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewUploadedArtifact:
    """An artifact made of a finished upload, of a blob that is already there, or of a URL: exactly one of them.

    sha512    of what was uploaded or is fetched, checked when given
    verbatim  the bytes are for no disk and stay as they are
    """

    name: str
    namespace: str
    upload: str | None = None
    blob: str | None = None
    url: str | None = None
    source_url: str | None = None
    shared: bool = False
    kind: str = "image"
    sha512: str | None = None
    max_versions: int | None = None
    verbatim: bool = False


@dataclass(frozen=True, kw_only=True)
class GuestFile:
    """A file inside a guest that is to be written or read. `seconds` until the deadline, None for none.

    patience  seconds within which each piece must move
    """

    path: str
    seconds: int | None
    patience: int
    mode: int | None = None

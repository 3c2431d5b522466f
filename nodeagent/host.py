"""What an action may ask of the machine. `drivers.real_host.RealHost` does it, `fake_host.FakeHost` pretends to.

Every verb is idempotent and says what it changed ("created", "repaired", "unchanged", "removed"). Reading verbs answer
None only where the thing is known to be absent; a machine that cannot be asked raises instead (HC-22). Two exceptions
have a meaning to the engine: Refused (a known permanent cause) and Retry (a transient one); any other is unknown, and
an unknown error never undoes anything (EN-9).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Protocol

from nodeagent.specs import BlobSource, BlobSpec, ConfigDrive, DiskSpec, InstanceSpec, NetworkSpec, RouterSpec


class Refused(Exception):
    """A known permanent cause; `code` is one of those that the action lists, `facts` what the control plane can mend by."""

    def __init__(self, code: str, message: str = "", **facts: Any) -> None:
        super().__init__(message or code)
        self.code = code
        self.facts = facts


class Retry(Exception):
    """A transient cause; tried again after `after` seconds, or after the engine's own backoff."""

    def __init__(self, code: str, message: str = "", after: float | None = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.after = after


@dataclass(frozen=True, kw_only=True)
class BlobFacts:
    """A blob's file as the node has verified it. Sizes in bytes; `sha512` hex."""

    size: int
    sha512: str
    format: str
    virtual_size: int


@dataclass(frozen=True, kw_only=True)
class DomainState:
    """A running or paused domain. `digest` is that of the spec it was started from (power left out)."""

    power: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """A domain changed by itself or by a command; `cause` is one of started, paused, resumed, cut (by a command), guest
    (the guest shut itself down) and crashed (its process died or failed).
    """

    instance: str
    cause: str


@dataclass(frozen=True, kw_only=True)
class HostInventory:
    """All the node holds. `unreadable` names the parts that could not be enumerated: such an inventory proves no absence.

    instances  {uuid: power}; an instance with files and no domain is "off"
    networks   {network uuid: vni}, routers {network uuid: vni}, blobs {uuid: size in bytes}
    damaged    {network uuid: what is wrong} of routers that are not as they were made (FL-7)
    """

    instances: Mapping[str, str]
    networks: Mapping[str, int]
    routers: Mapping[str, int]
    blobs: Mapping[str, int]
    unreadable: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What the node offers. Memory in MiB, disk in GiB."""

    cpus: int
    memory_mb: int
    disk_gb: int
    extra: Mapping[str, Any] = field(default_factory=dict)


class Call(Protocol):
    """The attempt that an action runs in."""

    token: str

    def progress(self, percent: int) -> None:
        """Tell how far it got; raises Refused("cancelled") when the control plane asked to stop."""

    def config_drive(self) -> ConfigDrive:
        """The step's secrets, fetched while it is open (SE-3)."""

    def blob_ticket(self, blob: str, peer: str) -> tuple[str, str]:
        """(URL, ticket) to read `blob` from node `peer` (SE-5)."""


class Host(Protocol):
    """The machine, as actions see it."""

    def ensure_network(self, spec: NetworkSpec) -> str: ...

    def remove_network(self, network: str, vni: int) -> str: ...

    def ensure_router(self, spec: RouterSpec) -> str: ...

    def remove_router(self, network: str, vni: int) -> str: ...

    def ping(self, network: str, vni: int, address: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ten echoes from the network's router: the lines of both streams. Refused("router.absent") where there is none."""

    def blob(self, blob: str) -> BlobFacts | None: ...

    def fetch_blob(self, spec: BlobSpec, source: BlobSource, call: Call) -> BlobFacts:
        """Fetch, verify, flush and rename into place. Codes: see actions/ensure_blob.py."""

    def adopt_upload(self, upload: str, spec: BlobSpec, call: Call) -> BlobFacts:
        """Turn finished upload `upload` of this node into the blob."""

    def remove_blob(self, blob: str) -> str: ...

    def disks(self, instance: str) -> Mapping[str, str | None]:
        """{device: blob it is an overlay of, or None} for the instance's existing disk files."""

    def create_disk(self, instance: str, disk: DiskSpec, call: Call) -> None: ...

    def write_config_drive(self, spec: InstanceSpec, drive: ConfigDrive, call: Call) -> None: ...

    def has_config_drive(self, instance: str) -> bool: ...

    def remove_instance_files(self, instance: str) -> str: ...

    def domain(self, instance: str) -> DomainState | None: ...

    def start_domain(self, spec: InstanceSpec, digest: str) -> None:
        """Start (paused when spec.power is paused). Refused("port.taken") has the port in its facts."""

    def stop_domain(self, instance: str) -> str:
        """Power cut."""

    def suspend_domain(self, instance: str) -> None: ...

    def resume_domain(self, instance: str) -> None: ...

    def reboot_domain(self, instance: str, hard: bool) -> None: ...

    def inventory(self) -> HostInventory: ...

    def capacity(self) -> Capacity: ...


class Machine(Host, Protocol):
    """A host as the node's own processes see it: what happens to it by itself, and housekeeping."""

    @property
    def events(self) -> "SimpleQueue[DomainEvent]": ...

    def watch(self) -> None:
        """Queue DomainEvents in `events` from now on; for the one process that reports."""

    def forget_attempt(self, token: str) -> None:
        """Remove what an attempt that ended with its process left half made (EN-15)."""

    def trim_console_logs(self) -> int:
        """Hold every console log to its limit (SE-10); how many had grown past it."""

    def close(self) -> None: ...

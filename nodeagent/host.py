"""What an action may ask of the machine. `drivers.real_host.RealHost` does it, `fake_host.FakeHost` pretends to.

Every verb is idempotent and says what it changed ("created", "repaired", "unchanged", "removed"). Reading verbs answer
None only where the thing is known to be absent; a machine that cannot be asked raises instead (HC-22). Two exceptions
have a meaning to the engine: Refused (a known permanent cause) and Retry (a transient one); any other is unknown, and
an unknown error never undoes anything (EN-9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Protocol

from nodeagent.specs import (
    BlobSource,
    BlobSpec,
    CapturedDisk,
    ConfigDrive,
    DiskSpec,
    InstanceSpec,
    InterfaceSpec,
    NetworkSpec,
    RouterSpec,
)

PROGRAMS = ("report", "work", "work-bulk", "serve")
"""The agent's own programs on every node, by role; beside them runs `nethelper`."""


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
    """A blob's file as the node has verified it. Sizes in bytes; `sha512` hex; `hashes` {algorithm: hex}, sha512 as well.

    validators  what the web server said of the version that it gave: etag, last_modified
    """

    size: int
    sha512: str
    format: str
    virtual_size: int
    hashes: dict[str, str] = field(default_factory=dict)
    validators: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BlobCheck:
    """A blob's file was read again, whole: `reason` is empty when it is what it was, else why it is not (BL-4)."""

    blob: str
    sha512: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class DomainState:
    """A running or paused domain. `digest` is of what can only change by a new start (`specs.spec_digest`).

    disks  files of the disks that it has now, without the config drive; `macs` those of its network cards
    """

    power: str
    digest: str
    disks: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """A domain changed by itself or by a command; `cause` is one of started, paused, resumed, cut (by a command), guest
    (the guest shut itself down), crashed (its process died or failed), disk_error (paused, because a disk failed) and agent
    (the one inside it has come or gone).
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


@dataclass(frozen=True, kw_only=True)
class Usage:
    """{uuid: counters} of running guests and of networks here, since they were started or came.

    Their shapes are in docs/operations-and-events.md.
    """

    instances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Captured disks: {device: the blob that each became}; `quiesced` when the guest had written all it had."""

    blobs: Mapping[str, BlobFacts]
    quiesced: bool


@dataclass(frozen=True, kw_only=True)
class GuestState:
    """A guest whose agent answers: since when, and when the guest says it was started; seconds since 1970."""

    since: float
    booted: float | None = None


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """How a command inside a guest ended: its exit status, and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, kw_only=True)
class Movement:
    """Where a running domain goes: the mesh address there, and what it is from then on (ports differ between nodes)."""

    address: str
    spec: InstanceSpec
    digest: str


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One file of a guest. `patience`: seconds within which each piece must move; `ceiling`: bytes that are read at most."""

    path: str
    patience: int
    mode: int | None = None
    ceiling: int = 0


class Call(Protocol):
    """The attempt that an action runs in."""

    token: str

    def progress(self, percent: int) -> None:
        """Tell how far it got; raises Refused("cancelled") when the control plane asked to stop."""

    def config_drive(self) -> ConfigDrive:
        """The step's secrets, fetched while it is open (SE-3)."""

    def blob_ticket(self, blob: str, peer: str) -> tuple[str, str]:
        """(URL, ticket) to read `blob` from node `peer` (SE-5)."""

    def instance_ticket(self, instance: str, peer: str) -> tuple[str, str]:
        """(URL, ticket) to read the instance's files from node `peer`, which it moves away from."""


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

    def adopt_upload(self, upload: str, size: int, spec: BlobSpec, call: Call) -> BlobFacts:
        """Turn the first `size` bytes of finished upload `upload` of this node into the blob."""

    def remove_blob(self, blob: str) -> str: ...

    def is_changed(self, url: str, validators: Mapping[str, str]) -> bool:
        """Whether the web server has another version than the one it gave those validators with."""

    def disks(self, instance: str) -> Mapping[str, str | None]:
        """{file: blob it is an overlay of, or None} for the instance's existing disk files (`specs.disk_file`)."""

    def snapshot_disks(self, instance: str, disks: Sequence[CapturedDisk], quiesce: bool, call: Call) -> Snapshot:
        """Make a blob of each of these disks, all as they are at one moment; the guest goes on running."""

    def create_disk(self, instance: str, disk: DiskSpec, call: Call) -> None: ...

    def grow_disk(self, instance: str, disk: DiskSpec) -> str:
        """Make an existing disk at least `size_gb` large, under a running guest too. It never gets smaller."""

    def remove_disk(self, instance: str, file: str) -> str:
        """Take the disk's file away; no domain may have it."""

    def write_config_drive(self, spec: InstanceSpec, drive: ConfigDrive, call: Call) -> None: ...

    def has_config_drive(self, instance: str) -> bool: ...

    def copy_instance(self, spec: InstanceSpec, peer: str, call: Call, *, disks: bool) -> str:
        """Copy from node `peer` what is missing here of the instance's files: config drive, variables of its firmware, console
        log, and with `disks` those too. Refused("disk.missing") and ("disk.conflict").
        """

    def remove_instance_files(self, instance: str) -> str: ...

    def domain(self, instance: str) -> DomainState | None: ...

    def start_domain(self, spec: InstanceSpec, digest: str) -> None:
        """Start (paused when spec.power is paused). Refused("port.taken") has the port in its facts."""

    def stop_domain(self, instance: str) -> str:
        """Power cut."""

    def shut_down_domain(self, instance: str) -> None:
        """Ask the guest to end itself; whether and when it does is its own."""

    def migrate_domain(self, move: Movement, call: Call) -> None:
        """Move the running domain and what its disks have above their blobs to a node that has received it.

        Whatever is raised, nobody may conclude from it where the domain is now.
        """

    def attach_interface(self, instance: str, interface: InterfaceSpec) -> None:
        """Give the running domain one more network card."""

    def detach_interface(self, instance: str, mac: str) -> None:
        """Take a card out of the running domain. Retry("device.busy") while the guest has not let go of it."""

    def attach_disk(self, instance: str, disk: DiskSpec) -> None: ...

    def detach_disk(self, instance: str, device: str) -> None:
        """As `detach_interface`."""

    def suspend_domain(self, instance: str) -> None: ...

    def resume_domain(self, instance: str) -> None: ...

    def reboot_domain(self, instance: str, hard: bool) -> None: ...

    def start_in_guest(self, instance: str, command_line: str) -> int:
        """Start a command of the guest's shell by its agent; the pid. Codes of all guest verbs: guest.off, guest.refused
        (with what the agent said), and Retry("guest.silent").
        """

    def result_in_guest(self, instance: str, pid: int) -> CommandResult | None:
        """How it ended, told once; None while it runs."""

    def kill_in_guest(self, instance: str, pid: int) -> None: ...

    def write_in_guest(self, instance: str, blob: str, target: Transfer, call: Call) -> None:
        """Copy a blob of this node into a file of the guest."""

    def read_in_guest(self, instance: str, blob: str, source: Transfer, call: Call) -> BlobFacts:
        """Copy a file of the guest into a new blob."""

    def keep_blob(self, blob: str, content: bytes, call: Call) -> BlobFacts:
        """Make a blob of these bytes."""

    def inventory(self) -> HostInventory: ...

    def capacity(self) -> Capacity: ...


class Machine(Host, Protocol):
    """A host as the node's own processes see it: what happens to it by itself, and housekeeping."""

    @property
    def events(self) -> "SimpleQueue[DomainEvent]": ...

    def watch(self) -> None:
        """Queue DomainEvents in `events` from now on; for the one process that reports."""

    def forget_attempt(self, token: str, object_key: str) -> None:
        """Undo what an attempt on this object left half made when its process ended (EN-15)."""

    def guest_states(self) -> Mapping[str, GuestState]:
        """The guests whose agent answers."""

    def trim_console_logs(self) -> int:
        """Hold every console log to its limit (SE-10); how many had grown past it."""

    def cpu_fractions(self) -> Mapping[str, float]:
        """Share of one CPU that each of the node's own programs took since the last call."""

    def measured(self) -> Mapping[str, float]:
        """What is in use now, by whomever: `cpus` by the load of a minute, `memory_mb` MiB, `disk_gb` GiB."""

    def usage(self) -> Usage:
        """What guests and networks have used so far."""

    def probe_storage(self) -> Mapping[str, str]:
        """{part: what is wrong} of "blobs", "instances" and "uploads" that did not take a write in time."""

    def verify_blobs(self, budget: int) -> list[BlobCheck]:
        """Read on through the blobs for `budget` bytes at most; those whose end was reached."""

    def close(self) -> None: ...

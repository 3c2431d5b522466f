"""What may be asked of the privileged process, and what it answers (NL-7): typed documents, one JSON object a line.

    {"request": "EnsureNetwork", "sent": 81.5, "body": {...}}      {"answer": "Changed", "body": {...}}
                                                                   {"error": {"errno": 2, "object": "br-vxlan-00002a", ...}}

`sent` is CLOCK_BOOTTIME when the request was written, which both sides share: what a lease has left is counted from there,
so that a request that lay in a frozen process's socket opens no gate for longer than it was good for.

There is no "run this": a request names an object and its desired state, and nothing in it is ever executed. Both sides
build the dataclasses with `wire.load`, which refuses what is unknown, missing or of another type.
"""

import errno
import ipaddress
import json
import time
from dataclasses import dataclass, field
from typing import Any

from nodeagent import wire
from nodeagent.specs import MAX_VNI, UUID, NetworkSpec, RouterSpec

MAX_LINE = 8 * 1024 * 1024


class NetworkError(Exception):
    """The kernel, or the process that speaks to it, refused: `errno`, the object's name, and words for people (NL-4)."""

    def __init__(self, code: int, name: str, message: str = "") -> None:
        super().__init__(f"{name}: {message or errno.errorcode.get(code, code)}")
        self.errno = code
        self.object = name
        self.message = message


@dataclass(frozen=True, kw_only=True)
class OfNetwork:
    """A request about one network, named by both its identities."""

    network: str
    vni: int

    def __post_init__(self) -> None:
        if not UUID.match(self.network):
            raise ValueError(f"network: {self.network!r} is not valid")
        if not 1 <= self.vni <= MAX_VNI:
            raise ValueError(f"vni: {self.vni} is not within 1 to {MAX_VNI}")


@dataclass(frozen=True, kw_only=True)
class EnsureNetwork:
    spec: NetworkSpec


@dataclass(frozen=True, kw_only=True)
class RemoveNetwork(OfNetwork):
    pass


@dataclass(frozen=True, kw_only=True)
class EnsureRouter:
    """The lease in `spec` counts from now: the caller has taken off the time since the control plane gave it."""

    spec: RouterSpec


@dataclass(frozen=True, kw_only=True)
class RemoveRouter(OfNetwork):
    pass


@dataclass(frozen=True, kw_only=True)
class RenewLease(OfNetwork):
    """`seconds` count from now; the gate closes a margin earlier, at once when nothing is left of them (EN-11)."""

    epoch: int
    seconds: float
    rivals: bool


@dataclass(frozen=True, kw_only=True)
class Inventory:
    pass


@dataclass(frozen=True, kw_only=True)
class Ping(OfNetwork):
    address: str
    count: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        ipaddress.IPv4Address(self.address)
        if not 1 <= self.count <= 60:
            raise ValueError(f"count: {self.count} is not within 1 to 60")


@dataclass(frozen=True, kw_only=True)
class Leases(OfNetwork):
    pass


@dataclass(frozen=True, kw_only=True)
class VerifyResolver(OfNetwork):
    pass


@dataclass(frozen=True, kw_only=True)
class CheckRouters:
    """Hold every router against what its last request made; changes nothing (FL-7, DN-6)."""


@dataclass(frozen=True, kw_only=True)
class SetMeshPeers:
    """The mesh addresses of all other nodes: the only ones that may send VXLAN to this one (SE-7)."""

    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        for address in self.addresses:
            ipaddress.IPv4Address(address)


@dataclass(frozen=True, kw_only=True)
class Changed:
    """created, repaired, unchanged or removed; `resolver` is "restarted" when a mute or dead one was replaced (DN-6)."""

    change: str
    resolver: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """All networks and routers on this node, {uuid: vni}. `unreadable` names devices and parts that no uuid is known for."""

    networks: dict[str, int] = field(default_factory=dict)
    routers: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Damage:
    """{network uuid: what is wrong} of the routers that are not as they were made."""

    routers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Echo:
    """What ping printed, as the API shows it; loss is not an error (HP-6)."""

    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DhcpLease:
    """One lease that the network's DHCP service has given; `expires` is Unix time."""

    mac: str
    address: str
    name: str
    expires: int


@dataclass(frozen=True, kw_only=True)
class LeaseList:
    leases: tuple[DhcpLease, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResolverState:
    """Each is "answers", "mute", "fenced" while the lease gate is closed, or "off" where there is nothing to ask for."""

    dhcp: str
    dns: str


REQUESTS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        EnsureNetwork,
        RemoveNetwork,
        EnsureRouter,
        RemoveRouter,
        RenewLease,
        Inventory,
        Ping,
        Leases,
        VerifyResolver,
        SetMeshPeers,
        CheckRouters,
    )
}
ANSWERS: dict[str, type] = {cls.__name__: cls for cls in (Changed, Held, Damage, Echo, LeaseList, ResolverState)}


def now() -> float:
    """Seconds on the clock that runs on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def encode_request(request: Any) -> bytes:
    return _line({"request": type(request).__name__, "sent": now(), "body": wire.dump(request)})


def encode_answer(answer: Any) -> bytes:
    return _line({"answer": type(answer).__name__, "body": wire.dump(answer)})


def encode_error(error: NetworkError) -> bytes:
    return _line({"error": {"errno": error.errno, "object": error.object, "message": error.message}})


@dataclass(frozen=True, kw_only=True)
class Envelope:
    request: str
    sent: float
    body: dict[str, Any]


def decode_request(line: bytes) -> tuple[Any, float]:
    """The request of one line and when it was sent. Raises NetworkError(EINVAL) for anything that is not exactly one."""
    try:
        envelope = wire.load(Envelope, json.loads(line))
        if envelope.request not in REQUESTS:
            raise wire.Malformed(f"unknown request {envelope.request!r}")
        return wire.load(REQUESTS[envelope.request], envelope.body), envelope.sent
    except (ValueError, TypeError, RecursionError) as error:
        raise NetworkError(errno.EINVAL, "request", str(error)) from error


def decode_answer(line: bytes) -> Any:
    """The answer of one line; an error is raised as the NetworkError that it was."""
    document = json.loads(line)
    if "error" in document:
        error = document["error"]
        raise NetworkError(int(error["errno"]), str(error["object"]), str(error["message"]))
    return wire.load(ANSWERS[document["answer"]], document["body"])


def _line(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"

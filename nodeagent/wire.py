"""What crosses between the control plane and a node: step messages, outcomes, reports and their answers.

Both sides import this module and nothing else of each other's. Every document is plain JSON. `load` builds the frozen
dataclasses from it and refuses what is unknown, missing or of another type, so a malformed document never gets further
than this file. A step message is signed with the node's own key (HMAC-SHA256 over its canonical JSON), so neither the
broker nor another node can command a node.
"""

import base64
import dataclasses
import hashlib
import hmac
import json
import types
import typing
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

RELEASE = "0.1.0"
"""Which release of the agent this is, as nodes report it."""
T = TypeVar("T")
Json = dict[str, Any]


class Malformed(ValueError):
    """A document that does not fit its type; the text names the field."""


def load(cls: type[T], document: Any) -> T:
    """Build the frozen dataclass `cls` from parsed JSON. Raises Malformed for any field that is unknown, missing or wrong."""
    if not isinstance(document, Mapping):
        raise Malformed(f"{cls.__name__}: an object is needed")
    hints, required = _shape(typing.cast(Any, cls))
    unknown = sorted(document.keys() - hints.keys())
    if unknown:
        raise Malformed(f"{cls.__name__}: unknown field {unknown[0]}")
    missing = [name for name in required if name not in document]
    if missing:
        raise Malformed(f"{cls.__name__}: missing field {missing[0]}")
    try:
        return cls(**{name: _convert(hints[name], value, f"{cls.__name__}.{name}") for name, value in document.items()})
    except Malformed:
        raise
    except (TypeError, ValueError) as error:
        raise Malformed(f"{cls.__name__}: {error}") from error


def dump(value: Any) -> Json:
    """The JSON object of a frozen dataclass; the inverse of `load`."""
    document: Json = _plain(value)
    return document


def _plain(value: Any) -> Any:
    """As parsed JSON would be: no enumerations, tuples or dataclasses are left."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if dataclasses.is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _shape(typing.cast(Any, type(value)))[0]}
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot cross to a node")


@cache
def _shape(cls: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The types of a dataclass's fields by name, and the names without a default."""
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    return {field.name: hints[field.name] for field in fields}, tuple(f.name for f in fields if _is_required(f))


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(typing.get_args(hint), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise Malformed(f"{where}: a list is needed")
        return tuple(_convert(typing.get_args(hint)[0], item, where) for item in value)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise Malformed(f"{where}: an object is needed")
        return dict(value)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return load(typing.cast(type, hint), value)
    return _convert_scalar(hint, value, where)


def _convert_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    return _convert(next(choice for choice in choices if choice is not type(None)), value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        try:
            return hint(value)
        except ValueError:
            raise Malformed(f"{where}: {value!r} is not one of {', '.join(hint)}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise Malformed(f"{where}: {hint.__name__} is needed")
    return value


class Kind(StrEnum):
    """How an action ended on the node (EN-9)."""

    DONE = "done"
    RETRY = "retry"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STALE = "stale"
    UNSUPPORTED = "unsupported"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMessage:
    """One attempt of one step: make `object_key` what `request` says, as of `generation`."""

    token: str
    node: str
    incarnation: str
    action: str
    version: int
    object_key: str
    generation: int
    request: dict[str, Any]
    signature: str = ""

    def signed(self, key: str) -> "StepMessage":
        return dataclasses.replace(self, signature=self._digest(key))

    def is_signed_by(self, key: str) -> bool:
        return hmac.compare_digest(self.signature, self._digest(key))

    def _digest(self, key: str) -> str:
        body = {**dump(self), "signature": ""}
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return hmac.new(key.encode(), canonical.encode(), hashlib.sha256).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt ended.

    change      created, unchanged, repaired or removed; only with kind done
    after       seconds to wait before the next attempt; only with kind retry
    generation  the node's own generation; only with kind stale
    seq         position in the node's journal, increasing (EN-13)
    """

    token: str
    kind: Kind
    code: str = ""
    message: str = ""
    change: str = ""
    after: float | None = None
    generation: int | None = None
    seq: int = 0
    result: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """Something that a node noticed by itself; `uuid` makes repeated delivery harmless."""

    uuid: str
    type: str
    message: str
    age: float
    object_type: str = ""
    object_uuid: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenObject:
    """One object that an inventory found. `power` is set for instances, `vni` for networks and routers, `generation` where
    the journal knows it.
    """

    object_type: str
    object_uuid: str
    power: str = ""
    generation: int | None = None
    intact: bool = True
    vni: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything the node holds, as of journal position `seq`; `complete` is false when any part could not be read.

    uuid  names this one look, so that a report that is sent again after a lost answer does not count it twice
    """

    seq: int
    complete: bool
    objects: tuple[SeenObject, ...]
    uuid: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a node tells the control plane. `held` are tokens received or started and not yet answered.

    waiting  {token: token of the object's running action} (EN-9 busy)
    facts    capacity, acceleration, versions, usage; claims, never commands (SE-6)
    mesh     digest of the mesh addresses that the node lets in (SE-7)
    spooled  events that wait on the node; `dropped` are those that it had no room for, since its journal was made (EV-4)
    """

    incarnation: str
    clock: float
    actions: dict[str, Any]
    held: tuple[str, ...] = ()
    waiting: dict[str, Any] = dataclasses.field(default_factory=dict)
    progress: dict[str, Any] = dataclasses.field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    events: tuple[NodeEvent, ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    inventory: Inventory | None = None
    power_off_by_guest: tuple[str, ...] = ()
    power_off_generations: dict[str, Any] = dataclasses.field(default_factory=dict)
    disk_errors: tuple[str, ...] = ()
    mesh: str = ""
    spooled: int = 0
    dropped: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeaseRenewal:
    """The node may carry `network` for `seconds` more, counted from the moment its report was sent (EN-11)."""

    network: str
    vni: int
    epoch: int
    seconds: float
    rivals: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportAnswer:
    """What the control plane answers: what it took, what the node is to do next, when to report again.

    acknowledged  tokens whose outcomes are settled; the journal may forget them
    closed        held tokens that are no longer wanted; dropped unless started
    steps         signed step messages, some of them copies of lost ones
    mesh          addresses of all nodes, when the node's own list is another
    """

    acknowledged: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    steps: tuple[StepMessage, ...] = ()
    leases: tuple[LeaseRenewal, ...] = ()
    events: tuple[str, ...] = ()
    interval: float = 30.0
    accepted: bool = True
    want_inventory: bool = False
    mesh: tuple[str, ...] | None = None


def mesh_digest(addresses: Iterable[str]) -> str:
    """By which both sides see whether they know the same mesh."""
    return hashlib.sha256(",".join(sorted(addresses)).encode()).hexdigest()[:16]


def ticket(key: str, claims: Mapping[str, Any]) -> str:
    """A bearer ticket for one object on one node: base64 claims and their HMAC with the serving node's key (SE-5)."""
    body = base64.urlsafe_b64encode(json.dumps(dict(claims), sort_keys=True).encode()).decode()
    return f"{body}.{hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()}"


def read_ticket(key: str, text: str) -> Json:
    """The claims of a ticket. Raises Malformed when the signature does not fit; the caller checks expiry and object."""
    body, _, signature = text.partition(".")
    if not hmac.compare_digest(signature, hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()):
        raise Malformed("ticket: wrong signature")
    claims: Json = json.loads(base64.urlsafe_b64decode(body))
    return claims

"""How an operation is declared and found.

An operation is one module in `sftasks/operations/`: `request` writes the wish in one transaction, `stages` says which
steps make it true, `finish` writes the target when it has ended, and one `OPERATION` declares the kind. Discovery is by
file, so a new operation is one file and its test.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models.expressions import Combinable

from nodeagent.wire import Outcome
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.models import Operation, Step

BACKGROUND = 30
"""The priority of what a user's clock asks for; a higher number waits longer."""


class Accepted(NamedTuple):
    """What `request` answers: the row it is about, and the operation that will make it true."""

    row: Any
    operation: Operation


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One action on one node, still without a request: that is rendered when an attempt is made (EN-2)."""

    node: UUID
    action: str
    object_type: str
    object_uuid: UUID
    arguments: Mapping[str, Any] = field(default_factory=dict)


Stage = Sequence[PlannedStep]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What `engine.submit` is given: one operation that does not exist yet.

    suffix   what may not be merged with another waiting one of the same kind and object (EN-7)
    gathers  may start later when many like it came just before, so that more can join it (EN-20)
    """

    kind: str
    object_key: str
    targets: Sequence[tuple[str, UUID]]
    params: Mapping[str, Any] = field(default_factory=dict)
    caller: Caller = CLUSTER
    namespace: UUID | None = None
    suffix: str = ""
    gathers: bool = False
    retry_of: Operation | None = None


@dataclass(frozen=True, kw_only=True)
class Served:
    """One type of object that nodes hold: how it is rendered, and which operation keeps it as wished.

    generation  the object's generation, read before its rows are (EN-2); `advance` raises it above a number
    newest      the same as an expression over node_objects, for many at once
    requests    for each action, the function that renders its request; None when the rows no longer want it
    """

    type: str
    kind: str
    ensure: str
    remove: str
    generation: Callable[[UUID, UUID], int]
    newest: Combinable
    advance: Callable[[UUID, UUID, int], None]
    requests: Mapping[str, Callable[[UUID, UUID, Mapping[str, Any]], dict[str, Any] | None]]

    def action(self, wanted: str) -> str:
        return self.ensure if wanted == "present" else self.remove


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an operation ended, for its `finish`: state succeeded, failed or cancelled."""

    state: str
    code: str = ""
    message: str = ""
    parked: bool = False

    @property
    def ok(self) -> bool:
        return self.state == "succeeded"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind's contract.

    stages      reads rows, writes none; called when the operation starts
    finish      writes the target in the transaction that ends the operation
    retract     takes the wishes back in the rows; the engine then sends what the rows say (EN-1). Without it: no undo
    ready       why it cannot start yet although nothing else holds it back; empty when it can
    mend        given a refusal, may change rows so that the same step can succeed, and says so
    elsewhere   given a node and why it failed there, may change rows so that it can be done on another: what it has to wait
                for there, or None
    entered     called when a stage after the first begins, in that transaction: may change rows that this stage is rendered from
    coalesces   a waiting one is joined instead of queued twice (EN-7)
    supersedes  ends the waiting ones on its object and asks the running one to stop (EN-14)
    creates     its object is not there before: when its node goes missing it unwinds, where others leave their wish (EN-12)
    finds_out   actions after which a later stage looks at what is: however they end, the operation goes on to that look, and
                while a node is missing that would answer it, it waits (EN-8)
    committed   true once it has to go on although it is asked to stop
    """

    name: str
    stages: Callable[[Operation], Sequence[Stage]]
    finish: Callable[[Operation, Ended], None]
    retract: Callable[[Operation], None] | None = None
    ready: Callable[[Operation], str] | None = None
    mend: Callable[[Operation, Step, Outcome], bool] | None = None
    elsewhere: Callable[[Operation, UUID, str, str], Sequence[Operation] | None] | None = None
    entered: Callable[[Operation, int], None] | None = None
    coalesces: bool = False
    supersedes: bool = False
    creates: bool = False
    finds_out: frozenset[str] = frozenset()
    committed: Callable[[Operation], bool] | None = None
    observational: bool = False
    priority: int = 20


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind of operation by name."""
    return {module.OPERATION.name: module.OPERATION for module in _modules("sftasks.operations")}


@cache
def served() -> Mapping[str, Served]:
    """Every type of object that nodes hold."""
    return {module.OBJECT.type: module.OBJECT for module in _modules("sftasks.plans")}


def _modules(package: str) -> list[ModuleType]:
    path = importlib.import_module(package).__path__
    return [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(path)]


def object_key(row: models.Model, node: UUID | None = None) -> str:
    """`type:uuid` of the row, with `@node` for what is written of it on one node (EN-7)."""
    key = f"{type(row).__name__.lower()}:{row.pk}"
    return f"{key}@{node}" if node else key


def queued_key(kind: Kind, wish: Wish) -> str | None:
    """What only one waiting operation may have; None for a kind that does not coalesce (EN-7)."""
    if not kind.coalesces:
        return None
    return ":".join(part for part in (kind.name, wish.object_key, wish.suffix) if part)


def new_operation(kind: Kind, wish: Wish, key: str | None) -> Operation:
    """The row of the wish, not yet inserted."""
    return Operation(
        kind=kind.name,
        namespace_id=wish.namespace,
        object_key=wish.object_key,
        queued_key=key,
        params=dict(wish.params),
        requested_by=str(wish.caller),
        request_id=wish.caller.request_id,
        priority=max(kind.priority, BACKGROUND) if wish.caller.in_background else kind.priority,
        observational=kind.observational,
        retry_of=wish.retry_of,
    )

"""Where instances may go and which of the nodes is best: filters, terms of the score, reasons. Pure, without a database.

A node is filtered in the order of STAGES; the first that rules it out is its stage in a refusal, beside the figures of
every dimension. What is left is ranked by TERMS: small functions, summed. Neither ever raises a limit.
"""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sfweb.domain.affinity import NONE, Affinity
from sfweb.errors import Conflict, NoCapacity, NotFound, SteadyfistError
from sfweb.models.state import State

BEST = 3
"""Equal enough to choose among at random, so that simultaneous creates do not all rush to one node."""
SKEWED_SECONDS = 5.0
"""A clock that is off by more is named when its node cannot be used (EN-16)."""
NODES_SHOWN = 10
"""Of so many nodes, those that came nearest, a refused batch tells the reasons for each of its members."""
DIMENSIONS = {
    "cpus": "sufficient_idle_cpu",
    "memory_mb": "sufficient_idle_memory",
    "disk_gb": "sufficient_free_disk",
}
STAGES = (
    "node_state",
    "is_hypervisor",
    "capacity_unknown",
    "unlike_its_node",
    "start_refused",
    "cpu_max_per_instance",
    *DIMENSIONS.values(),
    "affinity",
    "capacity_guard",
)
"""In the order in which a node is looked at. Part of the interface."""
UNUSABLE = STAGES[:3]
"""What rules a node out whatever is asked for."""
TRANSIENT = frozenset((*DIMENSIONS.values(), "capacity_guard"))
"""Here waiting can help (SC-20)."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What an instance takes. Memory MiB, disk GiB."""

    cpus: int
    memory_mb: int
    disk_gb: int

    @classmethod
    def of(cls, figures: Sequence[int]) -> "Room":
        """From figures in the order of DIMENSIONS."""
        cpus, memory_mb, disk_gb = figures
        return cls(cpus=cpus, memory_mb=memory_mb, disk_gb=disk_gb)

    def plus(self, other: "Room") -> "Room":
        return Room(
            cpus=self.cpus + other.cpus,
            memory_mb=self.memory_mb + other.memory_mb,
            disk_gb=self.disk_gb + other.disk_gb,
        )

    def as_json(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in DIMENSIONS}

    @property
    def figures(self) -> list[int]:
        """In the order of DIMENSIONS."""
        return [self.cpus, self.memory_mb, self.disk_gb]


NOTHING = Room(cpus=0, memory_mb=0, disk_gb=0)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One node as the snapshot saw it. `known`: it has a capacity row. `lost`: somebody else took the last room meanwhile."""

    node: uuid.UUID
    name: str
    state: str
    cordoned: bool
    silent: bool
    largest_cpus: int
    limit: Room
    used: Room
    clock_skew: float = 0.0
    known: bool = True
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One instance that wants a place.

    placed_on  that node, by name or uuid, and no other (SC-13)
    unfit      nodes to which one that is somewhere already cannot go
    refused    nodes that refused its start, with what they said
    """

    room: Room
    namespace: uuid.UUID | None = None
    placed_on: str | None = None
    tags: frozenset[str] = frozenset()
    affinity: Affinity = NONE
    blobs: frozenset[uuid.UUID] = frozenset()
    unfit: frozenset[uuid.UUID] = frozenset()
    refused: Mapping[uuid.UUID, str] = field(default_factory=dict)

    @property
    def fits_by_room(self) -> bool:
        """Any node with room would do."""
        return self.placed_on is None and self.affinity == NONE and not self.unfit


@dataclass
class Around:
    """What there is on nodes already: neighbours by (namespace, node) and tag, and which blobs have a copy."""

    neighbours: dict[tuple[uuid.UUID | None, uuid.UUID], Counter[str]] = field(default_factory=dict)
    copies: Mapping[uuid.UUID, frozenset[uuid.UUID]] = field(default_factory=dict)

    def tags_on(self, namespace: uuid.UUID | None, node: uuid.UUID) -> Counter[str]:
        return self.neighbours.get((namespace, node), Counter())

    def join(self, asked: Asked, node: uuid.UUID) -> None:
        """One more neighbour for those that are placed after it (SC-31)."""
        self.neighbours.setdefault((asked.namespace, node), Counter()).update(asked.tags)


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Why one node is no candidate.

    constraints  requirements of affinity that it does not meet, whatever its stage is
    """

    offer: Offer
    asked: Asked
    stage: str
    cause: str = ""
    constraints: tuple[str, ...] = ()

    @property
    def transient(self) -> bool:
        return self.stage in TRANSIENT

    @property
    def shortage(self) -> int:
        return sum(figures["exceeded"] for figures in self._dimensions().values())

    def as_json(self) -> dict[str, Any]:
        """Every dimension, whether it is the one that ruled the node out or not (SC-25)."""
        said: dict[str, Any] = {"node": self.offer.name, "stage": self.stage}
        said |= {"cause": self.cause} if self.cause else {}
        said |= {"constraints": list(self.constraints)} if self.constraints else {}
        return {**said, "dimensions": self._dimensions()}

    def _dimensions(self) -> dict[str, dict[str, Any]]:
        offer, room = self.offer, self.asked.room
        found = {"cpus_per_instance": _figures(offer.largest_cpus, 0, room.cpus)}
        for name in DIMENSIONS:
            found[name] = _figures(getattr(offer.limit, name), getattr(offer.used, name), getattr(room, name))
        return found


def _figures(limit: int, used: int, asked: int) -> dict[str, Any]:
    short_by = max(0, used + asked - limit)
    return {"limit": limit, "used": used, "asked": asked, "short_by": short_by, "exceeded": short_by > 0}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A node that would do, and what each term of the score says of it."""

    offer: Offer
    terms: Mapping[str, float]

    @property
    def score(self) -> float:
        return sum(self.terms.values())


def _liking(offer: Offer, asked: Asked, around: Around) -> float:
    """Whole steps of more than all that the other terms can add up to: affinity outranks them (AF-3)."""
    return 2.0 * asked.affinity.liking(around.tags_on(asked.namespace, offer.node))


def _free_share(offer: Offer, asked: Asked, around: Around) -> float:
    """The scarcest share that would be left, 0 to 1."""
    used, room, limit = offer.used, asked.room, offer.limit
    return 1 - max(
        (used.cpus + room.cpus) / max(limit.cpus, 1),
        (used.memory_mb + room.memory_mb) / max(limit.memory_mb, 1),
        (used.disk_gb + room.disk_gb) / max(limit.disk_gb, 1),
    )


def _images_there(offer: Offer, asked: Asked, around: Around) -> float:
    """A tenth for a node that has every image already: worth a little less room, and no more."""
    there = asked.blobs & around.copies.get(offer.node, frozenset())
    return 0.1 * len(there) / max(len(asked.blobs), 1)


TERMS: Mapping[str, Callable[[Offer, Asked, Around], float]] = {
    "affinity": _liking,
    "free_share": _free_share,
    "images_there": _images_there,
}
"""What the score of a candidate is the sum of (SC-16)."""


def candidates(
    offers: Sequence[Offer], asked: Asked, around: Around | None = None
) -> tuple[list[Candidate], list[Rejection]]:
    """The nodes with room, best first, and a rejection for each other."""
    around = around or Around()
    fit: list[Candidate] = []
    rejected: list[Rejection] = []
    for offer in offers:
        reason = rejection(offer, asked, around)
        if reason:
            rejected.append(reason)
        else:
            fit.append(Candidate(offer=offer, terms={name: term(offer, asked, around) for name, term in TERMS.items()}))
    fit.sort(key=lambda candidate: candidate.score, reverse=True)
    return fit, rejected


def rejection(offer: Offer, asked: Asked, around: Around) -> Rejection | None:
    """Why the node is no candidate; None when it is one."""
    broken = asked.affinity.broken(around.tags_on(asked.namespace, offer.node)) if asked.affinity.requires else ()
    stage, cause = _unusable(offer) or _closed(offer, asked) or _too_small(offer, asked.room) or ("", "")
    if not stage and broken:
        stage, cause = "affinity", ", ".join(broken)
    if not stage and offer.lost:
        stage, cause = "capacity_guard", "others took the room in this moment"
    return Rejection(offer=offer, asked=asked, stage=stage, cause=cause, constraints=broken) if stage else None


def _unusable(offer: Offer) -> tuple[str, str] | None:
    if offer.state != State.CREATED or offer.silent:
        cause = "it does not report" if offer.state == State.CREATED else f"it is {offer.state}"
        skewed = abs(offer.clock_skew) > SKEWED_SECONDS
        return "node_state", cause + (f"; its clock is off by {offer.clock_skew:.0f} s" if skewed else "")
    if offer.cordoned:
        return "is_hypervisor", "it is cordoned"
    return None if offer.known else ("capacity_unknown", "nothing is known of what it has")


def _closed(offer: Offer, asked: Asked) -> tuple[str, str] | None:
    if offer.node in asked.refused:
        return "start_refused", asked.refused[offer.node]
    return ("unlike_its_node", "it cannot go there from where it is") if offer.node in asked.unfit else None


def _too_small(offer: Offer, room: Room) -> tuple[str, str] | None:
    if room.cpus > offer.largest_cpus:
        return "cpu_max_per_instance", ""
    after = offer.used.plus(room)
    for stage, needed, limit in zip(DIMENSIONS.values(), after.figures, offer.limit.figures, strict=True):
        if needed > limit:
            return stage, ""
    return None


def in_order(fit: Sequence[Candidate]) -> list[Candidate]:
    """The candidates in the order in which to try them: the best few shuffled, then the rest.

    Shuffled are only those that are equal by affinity: chance never leaves the neighbours that won (AF-3).
    """
    best = [one for one in fit[:BEST] if one.terms["affinity"] == fit[0].terms["affinity"]]
    rest = list(fit[len(best) :])
    random.shuffle(best)
    return best + rest


def choose(offers: Sequence[Offer], asked: Sequence[Asked], around: Around, *, batch: bool = False) -> list[Offer]:
    """A node for each, in their order; each sees those before it. Raises what `refusal` makes when one has none.

    With `batch` that is one error for all who have none.
    """
    now = {offer.node: offer for offer in offers}
    chosen: list[Offer] = []
    refused: dict[int, SteadyfistError] = {}
    for index, one in enumerate(asked):
        try:
            offer = _choose_one(list(now.values()), one, around)
        except (NotFound, Conflict, NoCapacity) as error:
            refused[index] = error
            continue
        around.join(one, offer.node)
        now[offer.node] = replace(offer, used=offer.used.plus(one.room))
        chosen.append(offer)
    if refused:
        raise _refused_together(refused, len(asked)) if batch else next(iter(refused.values()))
    return chosen


def _choose_one(offers: Sequence[Offer], asked: Asked, around: Around) -> Offer:
    fit, rejected = candidates(meant(offers, asked), asked, around)
    if not fit:
        raise refusal(rejected)
    return in_order(fit)[0].offer


def meant(offers: Sequence[Offer], asked: Asked) -> Sequence[Offer]:
    """All nodes, or the one that was named. Raises NotFound when that is not there."""
    if asked.placed_on is None:
        return offers
    named = [offer for offer in offers if asked.placed_on in (offer.name, str(offer.node))]
    if not named:
        raise NotFound(f"node not found: {asked.placed_on}")
    return named


def refusal(rejected: Iterable[Rejection]) -> NoCapacity | Conflict:
    """The error for "nowhere": the furthest stage that any node reached, and every node's reason.

    Conflict when no usable node meets what affinity requires, so that more room could not help (SC-20).
    """
    reasons = sorted(rejected, key=lambda reason: (STAGES.index(reason.stage), -reason.shortage, reason.offer.name))
    if not reasons:
        return NoCapacity("no node is registered", stage="is_hypervisor", details={"nodes": []})
    listed = {"nodes": [reason.as_json() for reason in reasons]}
    usable = [reason for reason in reasons if reason.stage not in UNUSABLE]
    if usable and all(reason.constraints for reason in usable):
        names = list(dict.fromkeys(name for reason in usable for name in reason.constraints))
        details = {"stage": "affinity", "constraints": names, **listed}
        return Conflict(f"no node meets {', '.join(names)}", code="affinity_unsatisfiable", details=details)
    last = reasons[-1]
    message = f"no node has room: {last.stage}"
    return NoCapacity(message, stage=last.stage, transient=any(r.transient for r in reasons), details=listed)


def _refused_together(refused: Mapping[int, SteadyfistError], number: int) -> SteadyfistError:
    """One error for a batch: what waiting cannot help first."""
    for index, error in refused.items():
        if isinstance(error, NotFound):
            return NotFound(f"instances[{index}]: {error}", details={"index": index})
    details = {"instances": [_shortened(index, error) for index, error in refused.items()]}
    first = min(refused)
    message = f"{len(refused)} of {number} instances have no place; instances[{first}]: {refused[first]}"
    for error in refused.values():
        if isinstance(error, Conflict):
            return Conflict(message, code=error.code, details=details)
    transient = all(isinstance(error, NoCapacity) and error.transient for error in refused.values())
    return NoCapacity(message, stage=refused[first].details["stage"], transient=transient, details=details)


def _shortened(index: int, error: SteadyfistError) -> dict[str, Any]:
    """A member's reason with the nodes that came nearest: a hundred members times all nodes would be no answer."""
    nodes = error.details["nodes"]
    stages = Counter(node["stage"] for node in nodes)
    return {
        "index": index,
        "error": str(error),
        "stage": error.details["stage"],
        "nodes": nodes[-NODES_SHOWN:],
        "stages": dict(stages),
    }

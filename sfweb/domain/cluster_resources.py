"""What the nodes have and what is placed on them, from the counters that placement works with. Memory MiB, disk GiB."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef

from sfweb.domain import events, placement
from sfweb.domain.placement_rules import Offer
from sfweb.domain.transactions import durable
from sfweb.models import EventObject, Node
from sfweb.models.fields import FromNow
from sfweb.models.state import State

LONGEST_NAME = 64
MOST_PROGRAMS = 64
SUMMED = ("cpu_max", "cpu_available", "ram_max", "ram_available", "disk_max", "disk_available")

MEASURED = {"cpu_measured": "cpus", "ram_measured": "memory_mb", "disk_measured": "disk_gb"}


def resources() -> dict[str, Any]:
    """{total, per_node}. A node that takes nothing new (silent, cordoned) is listed and adds nothing to the total."""
    offers = sorted(placement.snapshot(), key=lambda offer: offer.name)
    usable = [_figures(offer) for offer in offers if _is_usable(offer)]
    total: dict[str, int] = {name: sum(figures[name] for figures in usable) for name in SUMMED}
    total["cpu_max_per_instance"] = max((figures["cpu_max_per_instance"] for figures in usable), default=0)
    facts = dict(Node.objects.filter(pk__in=[offer.node for offer in offers]).values_list("pk", "facts"))
    per_node = {
        offer.name: _figures(offer) | _measured(facts[offer.node]) | {"accepts_instances": _is_usable(offer)}
        for offer in offers
    }
    return {"total": total, "per_node": per_node}


def _is_usable(offer: Offer) -> bool:
    return offer.state == State.CREATED and not offer.silent and not offer.cordoned and offer.known


def _figures(offer: Offer) -> dict[str, int]:
    return {
        "cpu_max_per_instance": offer.largest_cpus,
        "cpu_max": offer.limit.cpus,
        "cpu_available": max(0, offer.limit.cpus - offer.used.cpus),
        "ram_max": offer.limit.memory_mb,
        "ram_available": max(0, offer.limit.memory_mb - offer.used.memory_mb),
        "disk_max": offer.limit.disk_gb,
        "disk_available": max(0, offer.limit.disk_gb - offer.used.disk_gb),
        "cpu_hard_max": offer.limit.cpus,
        "cpu_committed": offer.used.cpus,
        "cpu_committed_row_present": offer.known,
        "ram_committed": offer.used.memory_mb,
        "disk_committed": offer.used.disk_gb,
    }


def _measured(facts: Mapping[str, Any]) -> dict[str, float | None]:
    """What the node claims to be in use, guests and all else; null where it has not said so, or makes no sense (SE-6)."""
    claimed = facts.get("measured")
    said = claimed if isinstance(claimed, dict) else {}
    return {shown: said[name] if _is_figure(said.get(name)) else None for shown, name in MEASURED.items()}


def cpu_metrics(facts: Mapping[str, Any]) -> dict[str, float]:
    """The node's claims about its own programs, as the public client reads them; what makes no sense is left out (SE-6)."""
    claimed = facts.get("cpu_fractions")
    if not isinstance(claimed, dict):
        return {}
    return {
        f"process_cpu_fraction_{name}": float(value)
        for name, value in sorted(claimed.items())[:MOST_PROGRAMS]
        if isinstance(name, str) and len(name) <= LONGEST_NAME and _is_figure(value)
    }


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def tell_of(every: float) -> int:
    """An event of type `resources` on each living node that had none for `every` seconds; how many."""
    recent = EventObject.objects.filter(
        object_type="node", object_uuid=OuterRef("pk"), event_type="resources", at__gte=FromNow(-every)
    )
    due = list(Node.objects.filter(state=State.CREATED).exclude(Exists(recent)).order_by("name"))
    if not due:
        return 0
    _tell(due, resources()["per_node"])
    return len(due)


@durable
def _tell(nodes: Sequence[Node], figures: Mapping[str, Mapping[str, Any]]) -> None:
    events.record_all(
        [
            events.Entry(
                kind="resources",
                message="what the node has",
                targets=[("node", node.pk)],
                extra={**figures.get(node.name, {}), **cpu_metrics(node.facts)},
                origin=events.Origin(node=node.name),
            )
            for node in nodes
        ]
    )

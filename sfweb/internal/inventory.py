"""What a node's inventory proves, and what it does not (EN-13).

It says nothing about objects that were worked on since it began, whose operation runs, or whose newest wish has not been
applied. Absence needs two complete inventories. What is proven missing or different is set to "nothing confirmed": that
alone is what makes a message needed, and the reconciler of wishes does the rest.
"""

import uuid
from collections.abc import Sequence

from django.db.models import F

from nodeagent.specs import Power
from nodeagent.wire import Inventory, SeenObject, dump
from sftasks import wishes
from sftasks.operation import served
from sfweb.domain import events, node_life
from sfweb.domain.transactions import durable
from sfweb.models import Instance, Node, NodeObject, Operation, Wanted
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, State

POWERS = tuple(Power)
PROOF = 2
"""Complete inventories in a row without the object that prove that it is gone."""


@durable
def powered_off_by_guest(node: Node, instances: Sequence[str]) -> None:
    """The guest shut itself down: its owner's wish, so the wish becomes off and nothing is repaired."""
    if not instances:
        return
    rows = NodeObject.objects.filter(node=node, object_type="instance").values_list("object_uuid", flat=True)
    for identity in {str(own) for own in rows}.intersection(instances):
        changed = Instance.objects.filter(pk=identity, node=node, state=State.CREATED).exclude(power="off")
        off = {
            "power": "off",
            "observed_power": "off",
            "power_observed_at": UtcNow(),
            "generation": F("generation") + 1,
        }
        if changed.update(**off):
            events.record("status", "guest powered itself off", [("instance", uuid.UUID(identity))])


@durable
def compare(node: Node, found: Inventory) -> bool:
    """Compare one inventory with what the node confirmed. True when something is to be repaired."""
    Node.objects.filter(pk=node.pk).update(inventory=dump(found), inventory_at=UtcNow(), inventory_wanted=False)
    seen = {(item.object_type, item.object_uuid): item for item in found.objects}
    rows = list(NodeObject.objects.filter(node=node, seq__lte=found.seq))
    busy = _busy(node)
    drift = False
    for row in rows:
        item = seen.get((row.object_type, str(row.object_uuid)))
        if row.error == node_life.LOST:
            if item is not None:
                node_life.found_again(row, item.power if item.power in POWERS else "off")
            continue
        if f"{row.object_type}:{row.object_uuid}" in busy or not _is_settled(row):
            continue
        fault = _fault(node, row, item, found.complete)
        if fault:
            _unconfirm(row, fault)
            drift = True
    return drift


def _fault(node: Node, row: NodeObject, item: SeenObject | None, complete: bool) -> str:
    """What is proven wrong about one object, empty when nothing is."""
    if row.wanted != Wanted.PRESENT:
        return f"{row.object_type} is still on {node.name}" if item is not None else ""
    if item is None:
        proven = complete and node_life.raise_absences(row) >= PROOF
        return f"{row.object_type} is gone from {node.name}" if proven else ""
    if row.absences:
        NodeObject.objects.filter(pk=row.pk).update(absences=0)
    if row.object_type == "instance":
        return _power_fault(node, row, item)
    return "" if item.intact else f"{row.object_type} on {node.name} is not as it should be"


def _power_fault(node: Node, row: NodeObject, item: SeenObject) -> str:
    instance = Instance.objects.filter(pk=row.object_uuid, node=node).values("power", "observed_power").first()
    if instance is None:
        return ""
    if item.power not in POWERS:
        return ""
    if item.power != instance["observed_power"]:
        Instance.objects.filter(pk=row.object_uuid).update(observed_power=item.power, power_observed_at=UtcNow())
    if item.power != instance["power"]:
        return f"power is {item.power} on {node.name}, wished is {instance['power']}"
    return ""


def _unconfirm(row: NodeObject, message: str) -> None:
    wishes.forget_confirmation(row.node_id, row.object_type, row.object_uuid)
    events.record("status", f"drift: {message}", [(row.object_type, row.object_uuid), ("node", row.node_id)])


def _busy(node: Node) -> set[str]:
    """Objects that an operation works on now, here or as a whole."""
    keys = Operation.objects.filter(state__in=OPEN_OPERATION).values_list("object_key", flat=True)
    return {key.partition("@")[0] for key in keys if "@" not in key or key.endswith(f"@{node.pk}")}


def _is_settled(row: NodeObject) -> bool:
    """True when the node has confirmed the newest wish; an absence has no generation that could be newer."""
    if row.wanted == Wanted.ABSENT:
        return row.applied_wanted == Wanted.ABSENT
    return row.applied_generation >= served()[row.object_type].generation(row.object_uuid, row.node_id)

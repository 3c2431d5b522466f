"""What a node's inventory proves, and what it does not (EN-13).

It says nothing about objects that were worked on since it began, whose operation runs, or whose newest wish has not been
applied. Absence needs two complete inventories. What is proven missing or different is set to "nothing confirmed": that
alone is what makes a message needed, and the reconciler of wishes does the rest.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F

from nodeagent.specs import Power
from nodeagent.wire import Inventory, SeenObject, dump
from sftasks import wishes
from sfweb.domain import events, node_life, pending, reservations
from sfweb.domain.transactions import durable
from sfweb.models import Instance, Node, NodeObject, Operation, Wanted
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, State, transition

POWERS = tuple(Power)
PROOF = 2
"""Complete inventories in a row without the object that prove that it is gone."""


@durable
def powered_off_by_guest(node: Node, instances: Sequence[str], generations: Mapping[str, Any]) -> None:
    """The guest shut itself down: its owner's wish, so the wish becomes off and nothing is repaired.

    generations  {instance: the one that the node had applied}: where the owner has wished otherwise since, that stands
    """
    for identity in _held(node, instances):
        changed = Instance.objects.filter(pk=identity, node=node, state=State.CREATED).exclude(power="off")
        generation = generations.get(identity)
        if isinstance(generation, int):
            changed = changed.filter(power_generation__lte=generation)
        off = {
            "power": "off",
            "observed_power": "off",
            "power_observed_at": UtcNow(),
            "generation": F("generation") + 1,
        }
        if changed.update(**off):
            events.record("status", "guest powered itself off", [("instance", uuid.UUID(identity))])


@durable
def stopped_by_disk(node: Node, instances: Sequence[str]) -> None:
    """A disk of these failed and their guests are paused: they stay so, in error, for whoever can save what is on them."""
    for identity in _held(node, instances):
        row = Instance.objects.select_for_update().filter(pk=identity, node=node, state=State.CREATED).first()
        if row is None:
            continue
        message = f"disk.error: a disk failed on node {node.name}, the guest is paused"
        transition(row, State.ERROR, error_message=message, power="paused", observed_power="paused")
        Instance.objects.filter(pk=row.pk).update(power_observed_at=UtcNow(), generation=F("generation") + 1)
        events.record("status", message, [("instance", row.pk), ("node", node.pk)])


def _held(node: Node, instances: Sequence[str]) -> set[str]:
    """Those of the instances that the node should hold or has to let go of: of others it has nothing to tell (SE-4)."""
    if not instances:
        return set()
    rows = NodeObject.objects.filter(node=node, object_type="instance").values_list("object_uuid", flat=True)
    return {str(own) for own in rows}.intersection(instances)


@durable
def compare(node: Node, found: Inventory) -> bool:
    """Compare one inventory with what the node confirmed. True when something is to be repaired."""
    if found.uuid and (node.inventory or {}).get("uuid") == found.uuid:
        return False
    Node.objects.filter(pk=node.pk).update(inventory=dump(found), inventory_at=UtcNow(), inventory_wanted=False)
    seen = {(item.object_type, item.object_uuid): item for item in found.objects}
    rows = list(wishes.with_newest(NodeObject.objects.filter(node=node, seq__lte=found.seq)))
    busy = _busy(rows)
    powers = {} if found.complete and _is_restarting(rows, seen) else _powers(node)
    drift = False
    for row in rows:
        item = seen.get((row.object_type, str(row.object_uuid)))
        if row.error == node_life.LOST:
            if item is not None:
                node_life.found_again(row, item.power if item.power in POWERS else "off")
            continue
        if busy.intersection(_keys(row)) or not _is_settled(row):
            continue
        fault = _fault(row, item, found.complete) or _power_fault(row, item, powers)
        if fault:
            _unconfirm(row, fault)
            drift = True
    return drift


def count_uncounted(node: Node, found: Inventory) -> int:
    """Room is taken for what is on its node and was not counted there (SC-11), unless it was worked on since the look began."""
    told = found.objects
    seen = [own for item in told if item.object_type == "instance" and (own := _uuid(item.object_uuid))]
    missed = set(reservations.uncounted(node.pk, seen) if seen else [])
    if missed:
        later = NodeObject.objects.filter(node=node, object_type="instance", object_uuid__in=missed, seq__gt=found.seq)
        missed -= set(later.values_list("object_uuid", flat=True)) | pending.pending_among("instance", missed)
    return sum(durable(reservations.count_found)(node.pk, instance) for instance in sorted(missed))


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _is_restarting(rows: Sequence[NodeObject], seen: Mapping[tuple[str, str], SeenObject]) -> bool:
    """True when a network was missed for the first time: the next look decides, and guests are started after it, not before."""
    missed = [row for row in rows if row.object_type == "network" and row.wanted == Wanted.PRESENT]
    return any(("network", str(row.object_uuid)) not in seen and row.absences + 1 < PROOF for row in missed)


def _fault(row: NodeObject, item: SeenObject | None, complete: bool) -> str:
    """What is proven wrong about one object's presence, empty when nothing is."""
    if row.wanted != Wanted.PRESENT:
        return f"{row.object_type} is still there" if item is not None else ""
    if item is None:
        proven = complete and node_life.raise_absences(row) >= PROOF
        return f"{row.object_type} is gone" if proven else ""
    if row.absences:
        NodeObject.objects.filter(pk=row.pk).update(absences=0)
    return "" if item.intact else f"{row.object_type} is not as it should be"


def _powers(node: Node) -> dict[uuid.UUID, tuple[str, str]]:
    """{instance: (wished, observed)} of all that are placed on the node."""
    rows = Instance.objects.filter(node=node).exclude(state=State.DELETED).values_list("pk", "power", "observed_power")
    return {pk: (wished, observed) for pk, wished, observed in rows}


def _power_fault(row: NodeObject, item: SeenObject | None, powers: Mapping[uuid.UUID, tuple[str, str]]) -> str:
    """What is wrong about the power of an instance that is wanted and there; what was seen is noted."""
    if row.object_type != "instance" or item is None or item.power not in POWERS or row.object_uuid not in powers:
        return ""
    wished, observed = powers[row.object_uuid]
    if item.power != observed:
        Instance.objects.filter(pk=row.object_uuid).update(observed_power=item.power, power_observed_at=UtcNow())
    return f"power is {item.power}, wished is {wished}" if item.power != wished else ""


def _unconfirm(row: NodeObject, message: str) -> None:
    wishes.forget_confirmation(row.node_id, row.object_type, row.object_uuid)
    events.record("status", f"drift: {message}", [(row.object_type, row.object_uuid), ("node", row.node_id)])


def _keys(row: NodeObject) -> tuple[str, str]:
    key = f"{row.object_type}:{row.object_uuid}"
    return key, f"{key}@{row.node_id}"


def _busy(rows: Sequence[NodeObject]) -> set[str]:
    """Keys of these objects that an operation works on now, here or as a whole."""
    keys = [key for row in rows for key in _keys(row)]
    found = Operation.objects.filter(object_key__in=keys, state__in=OPEN_OPERATION)
    return set(found.values_list("object_key", flat=True))


def _is_settled(row: Any) -> bool:
    """True when the node has confirmed the newest wish; an absence has no generation that could be newer."""
    if row.applied_wanted != row.wanted:
        return False
    return row.wanted == Wanted.ABSENT or (row.newest is not None and bool(row.applied_generation >= row.newest))

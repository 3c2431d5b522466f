"""Networks that a node still has parts of although nothing says that it should, or that it has yet to let go of them.

That happens when rows are lost or an agent died at the wrong moment. Only what two inventories in a row have shown is a
stray, only networks and routers are ever taken away for it, and one that has just refused to go is left for a while.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db.models import Q

from nodeagent.specs import MAX_VNI
from nodeagent.wire import Inventory, SeenObject
from sftasks.operations import stray_remove
from sfweb.domain.lookup import as_uuid
from sfweb.models import Node, NodeObject, Operation
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION

KINDS = ("router", "network")
MOST = 20
AGAIN_SECONDS = 600.0


def reap(node: Node, before: Mapping[str, Any], found: Inventory) -> int:
    """Ask for the end of strays, a few a time; how many. `before` is the document of the inventory before this one."""
    if found.uuid == before.get("uuid"):
        return 0
    shown = {(item["object_type"], item["object_uuid"]) for item in before.get("objects", ())}
    parts: dict[tuple[uuid.UUID, int], list[str]] = defaultdict(list)
    for item in found.objects:
        identity = as_uuid(item.object_uuid)
        if identity and _is_named(item) and (item.object_type, item.object_uuid) in shown:
            parts[identity, item.vni or 0].append(item.object_type)
    identities = [identity for identity, _ in parts]
    known = NodeObject.objects.filter(node=node, object_type__in=KINDS, object_uuid__in=identities)
    spoken_for = set(known.values_list("object_uuid", flat=True)) | _lately(node, identities)
    strays = [(key, kinds) for key, kinds in sorted(parts.items()) if key[0] not in spoken_for][:MOST]
    for (network, vni), kinds in strays:
        stray_remove.request(node, network, vni, kinds)
    return len(strays)


def _is_named(item: SeenObject) -> bool:
    return item.object_type in KINDS and item.vni is not None and 0 < item.vni <= MAX_VNI


def _lately(node: Node, networks: list[uuid.UUID]) -> set[uuid.UUID]:
    """Those that an operation works on, or has tried to take away a moment ago."""
    keys = {f"network:{network}@{node.pk}": network for network in networks}
    keys |= {f"router:{network}@{node.pk}": network for network in networks}
    again = FromNow(-AGAIN_SECONDS * settings.TIME_SCALE)
    busy = Q(state__in=OPEN_OPERATION) | Q(kind="stray_remove", finished_at__gt=again)
    rows = Operation.objects.filter(busy, object_key__in=list(keys))
    return {keys[key] for key in rows.values_list("object_key", flat=True)}

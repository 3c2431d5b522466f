"""Closes the gap between what nodes should hold and what they confirmed (EN-13).

For each node_object whose newest wish is not applied, without an open operation on it, on a node that reports: the
operation that serves its type. One that is parked (its last step failed for a cause that nothing here can change) waits
for its owner.
"""

from uuid import UUID

from django.conf import settings

from sftasks import engine
from sftasks.operation import Wish, served
from sftasks.plans import blobs, instances, networks, routers
from sfweb.domain.callers import CLUSTER
from sfweb.domain.transactions import durable
from sfweb.models import Blob, Instance, Network, NodeObject, Operation, Wanted
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, State

PAGE = 500


def run() -> dict[str, int]:
    """Bounded to a page of differences a pass; the next pass sees the rest."""
    return {"submitted": close_gaps()}


def close_gaps(node: UUID | None = None) -> int:
    """The same for one node at once, when its inventory has just shown a difference; how many operations that made."""
    fresh = FromNow(-settings.NODE_SILENT_SECONDS)
    rows = NodeObject.objects.filter(node__last_seen__gt=fresh, error__isnull=True).select_related("node")
    rows = rows.filter(node__state__in=(State.CREATED, State.MISSING))
    if node is not None:
        rows = rows.filter(node=node)
    submitted = 0
    for row in rows.order_by("pk").iterator():
        if submitted >= PAGE:
            break
        if _differs(row) and not _is_busy(row):
            submitted += _submit(row)
    return submitted


def _differs(row: NodeObject) -> bool:
    if row.wanted == Wanted.ABSENT:
        return row.applied_wanted != Wanted.ABSENT
    generation = served()[row.object_type].generation(row.object_uuid, row.node_id)
    return row.applied_generation < generation or row.applied_wanted != Wanted.PRESENT


def _is_busy(row: NodeObject) -> bool:
    key = f"{row.object_type}:{row.object_uuid}"
    keys = [key, f"{key}@{row.node_id}"]
    return Operation.objects.filter(object_key__in=keys, state__in=OPEN_OPERATION).exists()


@durable
def _submit(row: NodeObject) -> int:
    wish = _wish(row.object_type, row.object_uuid, row.node_id)
    if wish is None:
        return 0
    engine.submit(wish)
    return 1


def _wish(object_type: str, object_uuid: UUID, node: UUID) -> Wish | None:
    if object_type == "instance":
        instance = Instance.objects.get(pk=object_uuid)
        return instances.on_node(instance, CLUSTER)
    if object_type == "blob":
        return blobs.on_node(Blob.objects.get(pk=object_uuid), node, CLUSTER)
    network = Network.objects.get(pk=object_uuid)
    if object_type == "network":
        return networks.on_node(network, node, CLUSTER)
    return routers.on_carrier(network, node, CLUSTER)

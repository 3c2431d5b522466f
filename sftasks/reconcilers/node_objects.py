"""Closes the gap between what nodes should hold and what they confirmed (EN-13).

For each node_object whose newest wish is not applied, without an open operation on it, on a node that reports: the
operation that serves its type. One that is parked (its last step failed for a cause that nothing here can change) waits
for its owner; but an absence may have none left, so that is tried again now and then.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

from sftasks import engine, wishes
from sftasks.operation import Wish
from sftasks.passes import one_of_many
from sftasks.plans import blobs, instances, networks, routers
from sfweb.domain import node_life
from sfweb.domain.callers import CLUSTER
from sfweb.domain.transactions import durable
from sfweb.models import Blob, Instance, Network, NodeObject, Operation, Wanted
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, State

PAGE = 500
ORDER = ("blob", "network", "router", "instance")
"""What a host that has restarted needs first: a guest is started when its networks are there, or tried again until they are."""
AGAIN_SECONDS = 600.0
"""Between two attempts to take away what refused to go."""


def run() -> dict[str, int]:
    """Bounded to a page of differences a pass; the next pass sees the rest."""
    return {"submitted": close_gaps()}


def close_gaps(node: UUID | None = None) -> int:
    """The same for one node at once, when its inventory has just shown a difference; how many operations that made."""
    submitted, last = 0, 0
    while submitted < PAGE and (rows := list(_page(node, last))):
        busy, last = _busy(rows), rows[-1].pk
        for row in sorted(rows, key=lambda row: ORDER.index(row.object_type))[: PAGE - submitted]:
            if not busy.intersection(_keys(row)):
                submitted += one_of_many(partial(_submit, row), "wish cannot be served", object=_keys(row)[1])
    return submitted


def _page(node: UUID | None, after: int) -> QuerySet[NodeObject]:
    """The next differences in the order of their keys. A node that is missing gets its residues first (EN-12)."""
    fresh = FromNow(-settings.NODE_SILENT_SECONDS)
    absent = Q(wanted=Wanted.ABSENT)
    rows = NodeObject.objects.filter(
        absent & Q(node__state=State.MISSING) | Q(node__state__in=node_life.HERE),
        pk__gt=after,
        node__last_seen__gt=fresh,
    ).filter(absent | Q(error__isnull=True))
    if node is not None:
        rows = rows.filter(node=node)
    return wishes.differing(rows).order_by("pk")[:PAGE]


def _keys(row: NodeObject) -> tuple[str, str]:
    key = f"{row.object_type}:{row.object_uuid}"
    return key, f"{key}@{row.node_id}"


def _busy(rows: Sequence[NodeObject]) -> set[str]:
    """Keys of these that an operation works on, or for the parked ones has worked on a moment ago."""
    keys = [key for row in rows for key in _keys(row)]
    parked = [key for row in rows if row.error is not None for key in _keys(row)]
    lately = Q(object_key__in=parked, finished_at__gt=FromNow(-AGAIN_SECONDS * settings.TIME_SCALE))
    found = Operation.objects.filter(Q(object_key__in=keys, state__in=OPEN_OPERATION) | lately)
    return set(found.values_list("object_key", flat=True))


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

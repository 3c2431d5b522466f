"""Which node takes bytes that nobody has yet, for uploads and first fetches."""

from django.conf import settings
from django.db.models import IntegerField, QuerySet
from django.db.models.functions import Cast

from sfweb.errors import NoCapacity
from sfweb.models import Node
from sfweb.models.fields import FromNow
from sfweb.models.state import State


def roomiest_node() -> Node:
    """The reporting node with most free disk. Raises NoCapacity when no node reports."""
    node = roomy_nodes().first()
    if node is None:
        raise NoCapacity("no node can take the bytes", stage="node_state", transient=True)
    return node


def roomy_nodes() -> QuerySet[Node]:
    """The reporting nodes, the one with most free disk first."""
    nodes = reporting_nodes().filter(cordoned=False, capacity__isnull=False)
    free = _signed("capacity__limit_disk_gb") - _signed("capacity__used_disk_gb")
    return nodes.order_by(free.desc(), "name")


def reporting_nodes() -> QuerySet[Node]:
    fresh = FromNow(-settings.NODE_SILENT_SECONDS)
    return Node.objects.filter(state=State.CREATED, last_seen__gt=fresh)


def _signed(column: str) -> Cast:
    return Cast(column, IntegerField())  # the database refuses a negative number of an unsigned column

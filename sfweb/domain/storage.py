"""Which node takes bytes that nobody has yet, for uploads and first fetches."""

from django.conf import settings
from django.db.models import F

from sfweb.errors import NoCapacity
from sfweb.models import Node
from sfweb.models.fields import FromNow
from sfweb.models.state import State


def roomiest_node() -> Node:
    """The reporting node with most free disk. Raises NoCapacity when no node reports."""
    fresh = FromNow(-settings.NODE_SILENT_SECONDS)
    nodes = Node.objects.filter(state=State.CREATED, cordoned=False, last_seen__gt=fresh, capacity__isnull=False)
    node = nodes.order_by(-(F("capacity__limit_disk_gb") - F("capacity__used_disk_gb")), "name").first()
    if node is None:
        raise NoCapacity("no node can take the bytes", stage="node_state", transient=True)
    return node

"""Keeps each node's user at the broker: a Redis that restarted has forgotten those, and a deleted node has none (SE-1)."""

from sfweb.domain import broker_users
from sfweb.models import NodeCredential
from sfweb.models.state import State


def run() -> dict[str, int]:
    """Nothing without BROKER_ADMIN_URL, where all nodes share one user."""
    if not broker_users.is_used():
        return {"ensured": 0, "removed": 0}
    keys = NodeCredential.objects.values_list("node_id", "signing_key").order_by("node_id")
    return {
        "ensured": broker_users.ensure(keys.exclude(node__state=State.DELETED)),
        "removed": broker_users.remove(node for node, _ in keys.filter(node__state=State.DELETED)),
    }

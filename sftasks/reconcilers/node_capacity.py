"""Sets every node's counters to the sum of its live reservations, and says what it found to differ (SC-6); the use of claims too.

A node without counters takes nothing; it gets them, empty, and an event says so (SC-10, SC-27).
"""

from sfweb.domain import capacity, claims, events
from sfweb.domain.transactions import durable
from sfweb.models import Node
from sfweb.models.state import State


def run() -> dict[str, int]:
    living = Node.objects.exclude(state=State.DELETED)
    made = sum(_make(node) for node in living.filter(capacity__isnull=True))
    drifted = sum(_recount(node) for node in living.filter(capacity__isnull=False))
    return {"made": made, "drifted": drifted, "claims_drifted": claims.recount()}


@durable
def _make(node: Node) -> int:
    capacity.make(node)
    events.record("status", "capacity counters were missing: it takes nothing until it reports", [("node", node.pk)])
    return 1


@durable
def _recount(node: Node) -> int:
    drift = capacity.recount(node)
    if drift:
        events.record("status", "capacity counters had drifted", [("node", node.pk)], extra={"drift": drift})
    return int(bool(drift))

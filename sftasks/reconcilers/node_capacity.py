"""Sets every node's counters to the sum of its live reservations, and says what it found to differ (SC-6)."""

from sfweb.domain import capacity, events
from sfweb.domain.transactions import durable
from sfweb.models import Node
from sfweb.models.state import State


def run() -> dict[str, int]:
    return {
        "drifted": sum(
            _recount(node) for node in Node.objects.exclude(state=State.DELETED).filter(capacity__isnull=False)
        )
    }


@durable
def _recount(node: Node) -> int:
    drift = capacity.recount(node)
    if drift:
        events.record("status", "capacity counters had drifted", [("node", node.pk)], extra={"drift": drift})
    return int(bool(drift))

"""What nodes say of the agents inside their guests, as columns of the instances (AG: agent state and boot time)."""

import datetime
from collections.abc import Mapping
from typing import Any

from sfweb.models import Instance, Node
from sfweb.models.instance import AGENT_READY, AGENT_SILENT
from sfweb.models.state import State


def take(node: Node, claims: Mapping[str, Any]) -> None:
    """Note which guests of this node have an agent that answers; claims about other nodes' guests change nothing (SE-4)."""
    columns = ("agent_state", "agent_started_at", "agent_system_booted_at")
    for row in Instance.objects.filter(node=node).exclude(state=State.DELETED).only("uuid", *columns):
        seen = _columns(claims.get(str(row.pk)))
        if any(getattr(row, name) != value for name, value in seen.items()):
            Instance.objects.filter(pk=row.pk, node=node).update(**seen)


def _columns(claim: Any) -> dict[str, Any]:
    if not isinstance(claim, Mapping):
        return {"agent_state": AGENT_SILENT, "agent_started_at": None, "agent_system_booted_at": None}
    return {
        "agent_state": AGENT_READY,
        "agent_started_at": _moment(claim.get("since")),
        "agent_system_booted_at": _moment(claim.get("booted")),
    }


def _moment(seconds: Any) -> datetime.datetime | None:
    """The moment, or None when the claim is none that a clock could show."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None

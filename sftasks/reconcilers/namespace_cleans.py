"""Brings the emptying of namespaces on: asks for the deletes of what is next, instances before networks before artifacts.

Each delete is an operation of its own, asked for once; the emptying depends on it, so it goes on when the last one of its
kind has ended, and ends itself when one could not be done (AR-15).
"""

from collections.abc import Callable
from typing import Any

from sftasks import parents
from sftasks.operation import Accepted
from sftasks.operations import artifact_delete, instance_delete, namespace_clean, network_delete
from sfweb.domain.callers import Caller
from sfweb.models import Operation

DELETES: dict[str, Callable[[Caller, Any], Accepted]] = {
    "instances": instance_delete.request,
    "networks": network_delete.request,
    "artifacts": artifact_delete.request,
}


def run() -> dict[str, int]:
    return {"asked": parents.go_on_with_each("namespace_clean", go_on)}


def go_on(operation: Operation) -> int:
    """Ask for a page of the deletes that are next; how many."""
    phase = next((name for name in namespace_clean.PHASES if namespace_clean.remaining(operation, name).exists()), None)
    if phase is None:
        return 0
    rows = namespace_clean.remaining(operation, phase).select_related("namespace").order_by("created_at")
    return parents.ask_for(operation, rows, DELETES[phase])

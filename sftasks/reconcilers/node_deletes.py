"""Brings the deletion of nodes with all that they have on: asks for the deletes of their instances, a page at a time."""

from uuid import UUID

from sftasks import parents
from sftasks.operations import instance_delete
from sfweb.domain.nodes import instances_on
from sfweb.models import Operation


def run() -> dict[str, int]:
    return {"asked": parents.go_on_with_each("node_delete", go_on)}


def go_on(operation: Operation) -> int:
    """Ask for a page of the deletes that have not been asked for; how many."""
    rows = instances_on(UUID(operation.params["node"]))
    parents.tell_progress(operation, rows.count())
    return parents.ask_for(operation, rows, instance_delete.request)

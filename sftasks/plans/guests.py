"""What is asked of the agent inside a guest: rendered requests. Nodes hold nothing of it, so there is nothing to keep as wished.

One operation at a time for each guest, in the order of asking (AG-2); the instance's own operations go on beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Value

from sftasks import outcomes
from sftasks.operation import PlannedStep, Served, Stage, Wish
from sfweb.domain import agent_operations
from sfweb.domain.callers import Caller
from sfweb.models import AgentOperation, Instance, Operation
from sfweb.models.fields import FromNow
from sfweb.models.state import AgentOperationState

NEW_SECONDS, PATIENT_SECONDS, HASTY_SECONDS = 10.0, 5.0, 0.2
"""A command that was asked for just now is waited for on the node, an older one only looked at."""


def wish(kind: str, identity: UUID, instance: Instance, caller: Caller, *more: tuple[str, UUID]) -> Wish:
    """An operation that the guest's agent is asked for; `more` are its targets beside that."""
    return Wish(
        kind=kind,
        object_key=f"guest:{instance.pk}",
        targets=[("agentoperation", identity), *more],
        params={"agent_operation": str(identity)},
        caller=caller,
        namespace=instance.namespace_id,
    )


def row_of(operation: Operation) -> AgentOperation:
    return AgentOperation.objects.select_related("instance", "blob").get(pk=operation.params["agent_operation"])


def stages(operation: Operation, *actions: str) -> Sequence[Stage]:
    """One action after the other on the guest's node; none once the time is over (AG-4)."""
    row = row_of(operation)
    if row.instance.node_id is None or agent_operations.has_expired(row.pk):
        return []
    arguments = {"agent_operation": str(row.pk)}
    return [
        [
            PlannedStep(
                node=row.instance.node_id,
                action=action,
                object_type="guest",
                object_uuid=row.instance_id,
                arguments=arguments,
            )
        ]
        for action in actions
    ]


def _open(arguments: Mapping[str, Any]) -> AgentOperation | None:
    return AgentOperation.objects.filter(pk=arguments["agent_operation"], state=AgentOperationState.QUEUED).first()


def _start(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = _open(arguments)
    return None if row is None else {"instance": str(instance), "command_line": row.commands[0]["commandline"]}


def _collect(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = _open(arguments)
    if row is None or row.operation is None:
        return None
    started = outcomes.facts(row.operation, "start_guest_command")
    is_new = AgentOperation.objects.filter(pk=row.pk, created_at__gt=FromNow(-NEW_SECONDS)).exists()
    left = agent_operations.seconds_left(row.pk)
    return {
        "instance": str(instance),
        "pid": (started or {})["pid"],
        "seconds": settings.AGENT_OPERATION_MAX_DEADLINE if left is None else left,
        "patience": PATIENT_SECONDS if is_new else HASTY_SECONDS,
        "blob": str(row.pk),
    }


def _put(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = _open(arguments)
    return None if row is None else _transfer(row) | {"mode": row.commands[1]["mode"]}


def _get(instance: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = _open(arguments)
    return None if row is None else _transfer(row) | {"ceiling": settings.AGENT_FILE_MAX_BYTES}


def _transfer(row: AgentOperation) -> dict[str, Any]:
    return {
        "instance": str(row.instance_id),
        "blob": str(row.blob_id),
        "path": row.commands[0]["path"],
        "patience": row.patience,
    }


def _never(guest: UUID, node: UUID, above: int) -> None:
    """Nothing here is ever older than what a node knows."""


OBJECT = Served(
    type="guest",
    kind="",
    ensure="",
    remove="",
    generation=lambda guest, node: 1,
    newest=Value(1),
    advance=_never,
    requests={
        "start_guest_command": _start,
        "collect_guest_command": _collect,
        "put_guest_file": _put,
        "get_guest_file": _get,
    },
)

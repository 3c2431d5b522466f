"""Run a command inside a guest: started once, then asked for until it has ended or its time is over."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sftasks import attachment, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import guests
from sfweb.domain import agent_operations
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.models import AgentOperation, Blob, Instance, Operation

INTERRUPTED = "the node's agent was interrupted: the command may have run"


def ask(
    caller: Caller, instance: Instance, command_line: str, seconds: int | None, *more: tuple[str, uuid.UUID]
) -> Accepted:
    """`request` in a transaction that is open already; `more` targets of the operation."""
    identity = uuid.uuid4()
    operation = engine.submit(guests.wish("guest_execute", identity, instance, caller, *more))
    locked = Instance.objects.select_for_update().get(pk=instance.pk)
    agent_operations.require_agent(locked)
    commands = [{"command": "execute", "commandline": command_line}]
    return Accepted(agent_operations.queue(locked, commands, seconds, uuid=identity, operation=operation), operation)


@durable
def request(caller: Caller, instance: Instance, command_line: str, seconds: int | None) -> Accepted:
    """Raises NotReady or Invalid when no agent answers in the guest. `seconds` until the deadline, None for none."""
    return ask(caller, instance, command_line, seconds)


def stages(operation: Operation) -> Sequence[Stage]:
    return guests.stages(operation, "start_guest_command", "collect_guest_command")


def finish(operation: Operation, ended: Ended) -> None:
    row = guests.row_of(operation)
    result = outcomes.facts(operation, "collect_guest_command")
    if ended.ok and result is not None:
        agent_operations.complete(row, {"0": _told(row, result)}, blob_id=_kept(row, result))
    elif ended.ok:
        agent_operations.fail(row, "guest.deadline", "its time was over before it started")
    else:
        message = INTERRUPTED if ended.code == "interrupted" else ended.message
        agent_operations.fail(row, ended.code, message)


def _told(row: AgentOperation, result: Mapping[str, Any]) -> dict[str, Any]:
    told = {"return-code": result["code"], "stdout": result["stdout"], "stderr": result["stderr"]}
    return told | ({"stdout_blob": str(row.pk)} if result["blob"] else {})


def _kept(row: AgentOperation, result: Mapping[str, Any]) -> uuid.UUID | None:
    """The blob of an output that was too long to be told; it has the uuid of what asked for it."""
    if not result["blob"] or row.instance.node_id is None:
        return None
    blob = Blob.objects.create(uuid=row.pk)
    attachment.blob_made(blob, row.instance.node_id, result["blob"])
    return blob.pk


OPERATION = Kind(name="guest_execute", stages=stages, finish=finish, priority=15)

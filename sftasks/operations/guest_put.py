"""Copy a blob into a file of a guest: first to the guest's node, then through its agent."""

import uuid
from collections.abc import Sequence

from sftasks import attachment, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import guests
from sfweb.domain import agent_operations
from sfweb.domain.callers import Caller
from sfweb.domain.specs import GuestFile
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Blob, Instance, Operation
from sfweb.models.state import State


@durable
def request(caller: Caller, instance: Instance, blob: Blob, file: GuestFile) -> Accepted:
    """Raises NotReady or Invalid when no agent answers in the guest, NotFound for a blob that is gone or broken.

    One that is still to arrive is waited for.
    """
    identity = uuid.uuid4()
    operation = engine.submit(guests.wish("guest_put", identity, instance, caller))
    locked_blob = Blob.objects.select_for_update().get(pk=blob.pk)
    if locked_blob.state not in (State.INITIAL, State.CREATED):
        raise NotFound(f"blob not found: {blob.pk} is {locked_blob.state}")
    locked = Instance.objects.select_for_update().get(pk=instance.pk)
    agent_operations.require_agent(locked)
    row = agent_operations.queue(
        locked,
        [
            {"command": "put-blob", "blob_uuid": str(blob.pk), "path": file.path},
            {"command": "chmod", "path": file.path, "mode": file.mode},
        ],
        file.seconds,
        uuid=identity,
        operation=operation,
        patience=file.patience,
        blob=locked_blob,
    )
    assert locked.node_id is not None, "an instance that is created has a node"
    copy = attachment.bring_blob(locked_blob, locked.node_id, caller)
    engine.depend(operation, [copy] if copy else [])
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    return guests.stages(operation, "put_guest_file")


def finish(operation: Operation, ended: Ended) -> None:
    row = guests.row_of(operation)
    if ended.ok and outcomes.facts(operation, "put_guest_file") is not None:
        agent_operations.complete(row, {"0": {}, "1": {}})
    elif ended.ok:
        agent_operations.fail(row, "guest.deadline", "its time was over before it started")
    else:
        agent_operations.fail(row, ended.code, ended.message)


OPERATION = Kind(name="guest_put", stages=stages, finish=finish, priority=20)

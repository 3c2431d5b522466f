"""Copy a file of a guest into a new blob, which belongs to whoever asked for it."""

import uuid
from collections.abc import Sequence

from sftasks import attachment, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import guests
from sfweb.domain import agent_operations
from sfweb.domain.callers import Caller
from sfweb.domain.specs import GuestFile
from sfweb.domain.transactions import durable
from sfweb.models import Blob, Instance, Operation


@durable
def request(caller: Caller, instance: Instance, file: GuestFile) -> Accepted:
    """Raises NotReady or Invalid when no agent answers in the guest."""
    identity = uuid.uuid4()
    operation = engine.submit(guests.wish("guest_get", identity, instance, caller))
    locked = Instance.objects.select_for_update().get(pk=instance.pk)
    agent_operations.require_agent(locked)
    blob = Blob.objects.create()
    row = agent_operations.queue(
        locked,
        [{"command": "get-file", "path": file.path}],
        file.seconds,
        uuid=identity,
        operation=operation,
        patience=file.patience,
        blob=blob,
    )
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    return guests.stages(operation, "get_guest_file")


def finish(operation: Operation, ended: Ended) -> None:
    row = guests.row_of(operation)
    made = outcomes.facts(operation, "get_guest_file")
    assert row.blob_id and row.instance.node_id, "its request made the blob's row, and found a node"
    blob = Blob.objects.select_for_update().get(pk=row.blob_id)
    if ended.ok and made is not None:
        attachment.blob_made(blob, row.instance.node_id, made)
        agent_operations.complete(row, {"0": {"content_blob": str(blob.pk)}})
        return
    attachment.blob_not_made(blob, row.instance.node_id)
    code, message = (ended.code, ended.message) if not ended.ok else ("guest.deadline", "its time was over")
    agent_operations.fail(row, code, message, blob_id=None)


OPERATION = Kind(name="guest_get", stages=stages, finish=finish, priority=20)

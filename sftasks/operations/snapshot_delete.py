"""Delete a snapshot set: all its disks together. A blob that an instance's disk lies on stays for as long as it does."""

from collections.abc import Sequence

from sftasks import captures, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotFound
from sfweb.models import Operation, SnapshotSet
from sfweb.models.state import State


@durable
def request(caller: Caller, snapshot: SnapshotSet) -> Accepted:
    """Raises NotFound for one that is gone, Conflict for one that is still being captured."""
    operation = engine.submit(
        Wish(
            kind="snapshot_delete",
            object_key=f"snapshot:{snapshot.pk}",
            targets=[("snapshot", snapshot.pk)],
            params={"snapshot": str(snapshot.pk)},
            caller=caller,
            namespace=snapshot.namespace_id,
        )
    )
    row = SnapshotSet.objects.select_for_update().get(pk=snapshot.pk)
    if row.state == State.DELETED:
        raise NotFound(f"snapshot not found: {row.pk}")
    if row.state == State.INITIAL:
        raise Conflict(f"snapshot {row.pk} is still being captured", code="snapshot.not_ready")
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    """None: the blobs' own operations take the copies away, and nobody has to wait for that."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    snapshot = SnapshotSet.objects.select_for_update().get(pk=operation.params["snapshot"])
    if ended.ok and snapshot.state != State.DELETED:
        captures.drop(snapshot)


OPERATION = Kind(name="snapshot_delete", stages=stages, finish=finish, coalesces=True, priority=20)

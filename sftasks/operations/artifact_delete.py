"""Delete an artifact; blobs that nothing else is made of leave every node."""

from collections.abc import Sequence

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Artifact, Blob, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, artifact: Artifact) -> Accepted:
    """Raises NotFound for one that is deleted already."""
    operation = engine.submit(
        Wish(
            kind="artifact_delete",
            object_key=f"artifact:{artifact.pk}",
            targets=[("artifact", artifact.pk)],
            params={"artifact": str(artifact.pk)},
            caller=caller,
            namespace=artifact.namespace_id,
        )
    )
    row = Artifact.objects.select_for_update().get(pk=artifact.pk)
    if row.state == State.DELETED:
        raise NotFound(f"artifact not found: {row.pk}")
    if row.state != State.DELETE_WAIT:
        transition(row, State.DELETE_WAIT, active_key=None)
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    """None: the blobs' own operations take the copies away, and nobody has to wait for that."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    artifact = Artifact.objects.select_for_update().get(pk=operation.params["artifact"])
    if not ended.ok:
        return
    transition(artifact, State.DELETED, deleted_at=UtcNow())
    for blob in Blob.objects.filter(versions__artifact=artifact).order_by("pk"):
        attachment.discard_blob(blob)


OPERATION = Kind(name="artifact_delete", stages=stages, finish=finish, coalesces=True, supersedes=True, priority=20)

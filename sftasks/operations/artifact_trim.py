"""Take one version of an artifact away, or those beyond the number that it keeps (AR-12); without any it is deleted."""

from collections.abc import Sequence

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Artifact, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, artifact: Artifact, *, index: int | None = None, keep: int | None = None) -> Accepted:
    """Version `index`, or with `keep` all but the newest so many from now on. Raises NotFound for what is not there."""
    operation = engine.submit(
        Wish(
            kind="artifact_trim",
            object_key=f"artifact:{artifact.pk}",
            targets=[("artifact", artifact.pk)],
            params={"artifact": str(artifact.pk), "index": index},
            caller=caller,
            namespace=artifact.namespace_id,
        )
    )
    row = Artifact.objects.select_for_update().get(pk=artifact.pk)
    if row.state in (State.DELETED, State.DELETE_WAIT):
        raise NotFound(f"artifact not found: {row.pk}")
    if index is not None and not row.versions.filter(index=index).exists():
        raise NotFound(f"artifact {row.pk} has no version {index}")
    if keep is not None:
        Artifact.objects.filter(pk=row.pk).update(max_versions=keep)
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    """None: the blobs' own operations take the copies away, and nobody has to wait for that."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    artifact = Artifact.objects.select_for_update().get(pk=operation.params["artifact"])
    if not ended.ok or artifact.state == State.DELETED:
        return
    index = operation.params["index"]
    if index is None:
        attachment.trim_versions(artifact)
        return
    for version in artifact.versions.select_related("blob").filter(index=index):
        attachment.drop_version(version)
    if not artifact.versions.exists():
        transition(artifact, State.DELETED, active_key=None, deleted_at=UtcNow())


OPERATION = Kind(name="artifact_trim", stages=stages, finish=finish, priority=20)

"""Fetch an image from a URL into the cloud: a new version of its artifact, unless the bytes turn out to be the same."""

from collections.abc import Sequence

from django.conf import settings

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain import artifact_refs
from sfweb.domain.callers import Caller
from sfweb.domain.image_urls import check_image_url
from sfweb.domain.lookup import find_namespace
from sfweb.domain.specs import NewArtifact
from sfweb.domain.storage import roomiest_node
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden
from sfweb.models import Artifact, ArtifactVersion, Blob, Operation
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, wanted: NewArtifact) -> Accepted:
    """Raises NotFound, Invalid for the URL, Forbidden for `shared` by others than system, NoCapacity without a node."""
    if wanted.shared and not caller.is_system:
        raise Forbidden("only the system namespace shares artifacts")
    url = check_image_url(wanted.url, settings.FETCH_ALLOW)
    namespace = find_namespace(caller, wanted.namespace)
    artifact = artifact_refs.image_artifact(namespace, url, shared=wanted.shared)
    blob = artifact_refs.add_version(artifact, source_url=url, expected_sha512=wanted.sha512)
    operation = engine.submit(
        Wish(
            kind="artifact_fetch",
            object_key=f"artifact:{artifact.pk}",
            targets=[("artifact", artifact.pk), ("blob", blob.pk)],
            params={"artifact": str(artifact.pk), "blob": str(blob.pk)},
            caller=caller,
            namespace=namespace.pk,
        )
    )
    brought = attachment.bring_blob(blob, roomiest_node().pk, caller)
    if brought:
        engine.depend(operation, [brought])
    return Accepted(artifact, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: the blob's operation has done it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    artifact = Artifact.objects.select_for_update().get(pk=operation.params["artifact"])
    blob = Blob.objects.select_for_update().get(pk=operation.params["blob"])
    if ended.ok:
        if _is_repeat(artifact, blob):
            _withdraw(artifact, blob)
        elif artifact.state == State.INITIAL:
            transition(artifact, State.CREATED)
        attachment.trim_versions(artifact)
        return
    if artifact.state == State.INITIAL and not artifact.versions.exclude(blob=blob).exists():
        transition(artifact, State.ERROR, error_message=f"{ended.code}: {ended.message}")


def _is_repeat(artifact: Artifact, blob: Blob) -> bool:
    """True when the version before has the same bytes."""
    older = artifact.versions.exclude(blob=blob).filter(blob__state=State.CREATED).order_by("-index")
    before = older.select_related("blob").first()
    return before is not None and before.blob.sha512 == blob.sha512


def _withdraw(artifact: Artifact, blob: Blob) -> None:
    ArtifactVersion.objects.filter(artifact=artifact, blob=blob).delete()
    attachment.discard_blob(blob)


OPERATION = Kind(name="artifact_fetch", stages=stages, finish=finish, priority=25)

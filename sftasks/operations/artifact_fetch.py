"""Fetch an image from a URL into the cloud: a new version of its artifact, unless the bytes turn out to be the same.

When a version is there whose web server can be asked whether it has a newer one, only that is asked at first; where it
does not answer, the version that is there goes on being used (FR-4).
"""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings

from sftasks import attachment, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, PlannedStep, Stage
from sfweb.domain import artifact_refs, events
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.image_urls import check_image_url
from sfweb.domain.lookup import find_namespace
from sfweb.domain.specs import NewArtifact
from sfweb.domain.storage import roomiest_node
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden
from sfweb.models import Artifact, Blob, Operation
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, wanted: NewArtifact) -> Accepted:
    """Raises NotFound, Invalid for the URL, Forbidden for `shared` by others than system, NoCapacity without a node."""
    if wanted.shared and not caller.is_system:
        raise Forbidden("only the system namespace shares artifacts")
    url = check_image_url(wanted.url, settings.FETCH_ALLOW)
    namespace = find_namespace(caller, wanted.namespace)
    artifact = artifact_refs.image_artifact(namespace, url, shared=wanted.shared)
    node = roomiest_node().pk
    here = artifact_refs.newest_version(artifact, State.CREATED)
    if here is not None and here.blob.validators and wanted.sha512 is None:
        look = attachment.version_wish("artifact_fetch", artifact, here.blob, caller, node=str(node))
        return Accepted(artifact, engine.submit(look))
    return Accepted(artifact, _begin(artifact, node, caller, wanted.sha512))


def _begin(artifact: Artifact, node: UUID, caller: Caller, sha512: str | None = None) -> Operation:
    """Fetch the whole of it, as a new version."""
    blob = artifact_refs.add_version(artifact, source_url=artifact.source_url, expected_sha512=sha512)
    operation = engine.submit(attachment.version_wish("artifact_fetch", artifact, blob, caller))
    brought = attachment.bring_blob(blob, node, caller)
    if brought:
        engine.depend(operation, [brought])
    return operation


def stages(operation: Operation) -> Sequence[Stage]:
    """One question to the web server, or none: then the blob's operation has done it."""
    node, blob = operation.params.get("node"), UUID(operation.params["blob"])
    if node is None:
        return []
    return [[PlannedStep(node=UUID(node), action="observe_image", object_type="blob", object_uuid=blob)]]


def finish(operation: Operation, ended: Ended) -> None:
    artifact = Artifact.objects.select_for_update().get(pk=operation.params["artifact"])
    if "node" in operation.params:
        _looked(operation, artifact, ended)
        return
    blob = Blob.objects.select_for_update().get(pk=operation.params["blob"])
    if ended.ok:
        attachment.settle_version(artifact, blob)
        return
    if artifact.state == State.INITIAL and not artifact.versions.exclude(blob=blob).exists():
        transition(artifact, State.ERROR, error_message=f"{ended.code}: {ended.message}")
    attachment.withdraw_version(artifact, blob)


def _looked(operation: Operation, artifact: Artifact, ended: Ended) -> None:
    if not ended.ok:
        message = "the version that is here is used: whether there is a newer one could not be found out"
        _tell(operation, artifact, message, {"code": ended.code, "message": ended.message})
        return
    if not (outcomes.facts(operation, "observe_image") or {}).get("changed"):
        _tell(operation, artifact, "the version that is here is the newest", {})
    elif artifact.state == State.CREATED:
        _begin(artifact, UUID(operation.params["node"]), CLUSTER)


def _tell(operation: Operation, artifact: Artifact, message: str, facts: dict[str, str]) -> None:
    events.record("audit", message, [("artifact", artifact.pk)], extra=facts, request_id=operation.request_id)


OPERATION = Kind(name="artifact_fetch", stages=stages, finish=finish, priority=25)

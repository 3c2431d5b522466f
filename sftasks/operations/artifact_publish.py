"""Make an artifact version of a finished upload, of a blob that is there already, or of what a URL gives (AR-6)."""

from collections.abc import Sequence
from uuid import UUID

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage
from sfweb.domain import artifact_refs
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_blob, find_namespace, find_upload
from sfweb.domain.specs import NewUploadedArtifact
from sfweb.domain.storage import roomiest_node
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden, Invalid, NotFound
from sfweb.models import Artifact, Blob, Namespace, Operation, Upload
from sfweb.models.fields import UtcNow
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, wanted: NewUploadedArtifact) -> Accepted:
    """Raises NotFound, Invalid unless exactly one source is named, Forbidden for `shared` by others than system."""
    if sum(source is not None for source in (wanted.upload, wanted.blob, wanted.url)) != 1:
        raise Invalid("exactly one of upload_uuid, blob_uuid and url is needed")
    if wanted.shared and not caller.is_system:
        raise Forbidden("only the system namespace shares artifacts")
    namespace = find_namespace(caller, wanted.namespace)
    artifact = _artifact(wanted, namespace)
    blob, node = _version(caller, wanted, artifact)
    operation = engine.submit(attachment.version_wish("artifact_publish", artifact, blob, caller))
    brought = attachment.bring_blob(blob, node, caller) if node else None
    if brought:
        engine.depend(operation, [brought])
    return Accepted(artifact, operation)


def _version(caller: Caller, wanted: NewUploadedArtifact, artifact: Artifact) -> tuple[Blob, UUID | None]:
    """The blob of the new version, and the node that is to make it, if it is not there yet."""
    kept = {"expected_sha512": wanted.sha512, "verbatim": wanted.verbatim}
    if wanted.upload is not None:
        upload = Upload.objects.select_for_update().get(pk=find_upload(caller, wanted.upload).pk)
        if not upload.size:
            raise Invalid(f"upload {upload.pk} has no content")
        transition(upload, State.DELETED, touched_at=UtcNow())
        return artifact_refs.add_version(artifact, upload=upload, **kept), upload.node_id
    if wanted.url is not None:
        return artifact_refs.add_version(artifact, source_url=wanted.url, **kept), roomiest_node().pk
    blob = _living(find_blob(caller, wanted.blob or ""))
    newest = artifact.versions.order_by("-index").values_list("blob_id", flat=True).first()
    return (blob if newest == blob.pk else artifact_refs.attach_version(artifact, blob)), None


def _artifact(wanted: NewUploadedArtifact, namespace: Namespace) -> Artifact:
    scheme = "label" if wanted.kind == "label" else "upload"
    source = wanted.source_url or f"sf://{scheme}/{namespace.name}/{wanted.name}"
    row = artifact_refs.artifact_of(namespace, wanted.kind, source, name=wanted.name, shared=wanted.shared)
    columns: dict[str, object] = {"shared": True} if wanted.shared else {}
    if wanted.max_versions is not None:
        columns["max_versions"] = wanted.max_versions
    if columns:
        Artifact.objects.filter(pk=row.pk).update(**columns)
        row.refresh_from_db()
    return row


def _living(blob: Blob) -> Blob:
    """The blob, locked, so that nobody discards it meanwhile (EN-7)."""
    row = Blob.objects.select_for_update().get(pk=blob.pk)
    if row.state != State.CREATED:
        raise NotFound(f"blob not found: {row.pk} is {row.state}")
    return row


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: the blob's operation has done it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    artifact = Artifact.objects.select_for_update().get(pk=operation.params["artifact"])
    blob = Blob.objects.select_for_update().get(pk=operation.params["blob"])
    if ended.ok:
        attachment.settle_version(artifact, blob)
        return
    if artifact.state == State.INITIAL:
        transition(artifact, State.ERROR, error_message=f"{ended.code}: {ended.message}")
    attachment.withdraw_version(artifact, blob)


OPERATION = Kind(name="artifact_publish", stages=stages, finish=finish, priority=20)

"""Make an artifact version of a finished upload, or of a blob that is there already."""

from collections.abc import Sequence

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain import artifact_refs
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_blob, find_namespace, find_upload
from sfweb.domain.specs import NewUploadedArtifact
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden, Invalid, NotFound
from sfweb.models import Artifact, Blob, Namespace, Operation, Upload
from sfweb.models.state import State, transition


@durable
def request(caller: Caller, wanted: NewUploadedArtifact) -> Accepted:
    """Raises NotFound, Invalid unless exactly one of upload and blob is named, Forbidden for `shared` by others than system."""
    if (wanted.upload is None) == (wanted.blob is None):
        raise Invalid("exactly one of upload_uuid and blob_uuid is needed")
    if wanted.shared and not caller.is_system:
        raise Forbidden("only the system namespace shares artifacts")
    namespace = find_namespace(caller, wanted.namespace)
    artifact = _artifact(wanted, namespace)
    if wanted.upload is not None:
        upload = find_upload(caller, wanted.upload)
        if not upload.size:
            raise Invalid(f"upload {upload.pk} has no content")
        blob = artifact_refs.add_version(artifact, upload=upload)
        transition(upload, State.DELETED)
        node = upload.node_id
    else:
        blob = artifact_refs.attach_version(artifact, _living(find_blob(caller, wanted.blob or "")))
        upload, node = None, None
    operation = _submit(caller, artifact, blob, upload)
    brought = attachment.bring_blob(blob, node, caller) if node else None
    if brought:
        engine.depend(operation, [brought])
    return Accepted(artifact, operation)


def _artifact(wanted: NewUploadedArtifact, namespace: Namespace) -> Artifact:
    scheme = "label" if wanted.kind == "label" else "upload"
    source = wanted.source_url or f"sf://{scheme}/{namespace.name}/{wanted.name}"
    return artifact_refs.artifact_of(namespace, wanted.kind, source, name=wanted.name, shared=wanted.shared)


def _living(blob: Blob) -> Blob:
    """The blob, locked, so that nobody discards it meanwhile (EN-7)."""
    row = Blob.objects.select_for_update().get(pk=blob.pk)
    if row.state != State.CREATED:
        raise NotFound(f"blob not found: {row.pk} is {row.state}")
    return row


def _submit(caller: Caller, artifact: Artifact, blob: Blob, upload: Upload | None) -> Operation:
    return engine.submit(
        Wish(
            kind="artifact_publish",
            object_key=f"artifact:{artifact.pk}",
            targets=[("artifact", artifact.pk), ("blob", blob.pk)],
            params={"artifact": str(artifact.pk), "blob": str(blob.pk), "upload": str(upload.pk) if upload else None},
            caller=caller,
            namespace=artifact.namespace_id,
        )
    )


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: the blob's operation has done it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    artifact = Artifact.objects.select_for_update().get(pk=operation.params["artifact"])
    if ended.ok:
        if artifact.state == State.INITIAL:
            transition(artifact, State.CREATED)
        attachment.trim_versions(artifact)
    elif artifact.state == State.INITIAL:
        transition(artifact, State.ERROR, error_message=f"{ended.code}: {ended.message}")


OPERATION = Kind(name="artifact_publish", stages=stages, finish=finish, priority=20)

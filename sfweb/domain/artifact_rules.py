"""From what a caller asked for to an artifact that may be requested, and what may be changed about one."""

from collections.abc import Iterable, Mapping
from typing import Any

from sfweb.domain.callers import Caller
from sfweb.domain.image_urls import check_image_url
from sfweb.domain.lookup import find_blob, find_namespace, find_upload
from sfweb.domain.names import check_label
from sfweb.domain.specs import NewArtifact, NewUploadedArtifact
from sfweb.errors import Forbidden, Invalid
from sfweb.models import Artifact
from sfweb.models.namespace import SYSTEM


def new_artifact(caller: Caller, wanted: Mapping[str, Any], fetch_allow: Iterable[str]) -> NewArtifact:
    """An image that is to be fetched. Raises Invalid, NotFound, or Forbidden for sharing by others than `system`."""
    namespace = find_namespace(caller, wanted.get("namespace", caller.namespace))
    _check_sharing(caller, wanted)
    return NewArtifact(
        url=check_image_url(wanted["url"], fetch_allow),
        namespace=namespace.name,
        shared=wanted.get("shared", False),
        sha512=_check_sha512(wanted.get("sha512")),
    )


def new_uploaded_artifact(caller: Caller, name: str, wanted: Mapping[str, Any]) -> NewUploadedArtifact:
    """An artifact made of a finished upload or of a blob that the caller may read (SE-11)."""
    upload, blob = wanted.get("upload_uuid"), wanted.get("blob_uuid")
    if (upload is None) == (blob is None):
        raise Invalid("upload_uuid: exactly one of upload_uuid and blob_uuid is needed")
    namespace = find_namespace(caller, wanted.get("namespace", caller.namespace))
    _check_sharing(caller, wanted)
    check_label(name)
    if upload is not None and find_upload(caller, upload).size == 0:
        raise Invalid("upload_uuid: the upload is empty, and blobs must have content")
    if blob is not None:
        find_blob(caller, blob)
    return NewUploadedArtifact(
        name=name,
        namespace=namespace.name,
        upload=upload,
        blob=blob,
        source_url=wanted.get("source_url"),
        shared=wanted.get("shared", False),
    )


def set_max_versions(artifact: Artifact, number: int) -> None:
    """How many versions are kept; the oldest beyond that go when the next one comes."""
    Artifact.objects.filter(pk=artifact.pk).update(max_versions=number)


def share(artifact: Artifact, shared: bool) -> None:
    """Show an artifact of `system` to everybody, or stop doing so."""
    if artifact.namespace.name != SYSTEM:
        raise Forbidden("only artifacts in the system namespace can be shared")
    if not shared and not artifact.shared:
        raise Forbidden("the artifact is not shared")
    Artifact.objects.filter(pk=artifact.pk).update(shared=shared)
    artifact.shared = shared


def _check_sharing(caller: Caller, wanted: Mapping[str, Any]) -> None:
    if wanted.get("shared") and not caller.is_system:
        raise Forbidden("only the system namespace can create shared artifacts")


def _check_sha512(text: str | None) -> str | None:
    if text is None:
        return None
    text = text.lower()
    if len(text) != 128 or set(text) - set("0123456789abcdef"):
        raise Invalid("sha512: must be 128 hexadecimal digits")
    return text

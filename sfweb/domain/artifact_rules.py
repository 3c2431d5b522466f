"""From what a caller asked for to an artifact that may be requested, and what may be changed about one."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sfweb.domain import events
from sfweb.domain.callers import Caller
from sfweb.domain.digests import is_digest
from sfweb.domain.image_urls import check_image_url
from sfweb.domain.lookup import find_artifact, find_blob, find_namespace, find_upload, visible_artifacts
from sfweb.domain.names import check_label
from sfweb.domain.specs import NewArtifact, NewUploadedArtifact
from sfweb.domain.transactions import durable
from sfweb.errors import Forbidden, Invalid, NotFound
from sfweb.models import Artifact, ArtifactGrant, ArtifactKind, ArtifactVersion, Namespace, Trust
from sfweb.models.namespace import SYSTEM
from sfweb.models.state import State

PRINTABLE_SOURCE = re.compile(r"[^\x00-\x1f\x7f]{1,1024}\Z")


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


def new_uploaded_artifact(
    caller: Caller, name: str, wanted: Mapping[str, Any], fetch_allow: Iterable[str]
) -> NewUploadedArtifact:
    """An artifact made of a finished upload, of a blob that the caller may read (SE-11), or of a URL."""
    kind = wanted.get("artifact_type", ArtifactKind.IMAGE)
    if kind not in (ArtifactKind.IMAGE, ArtifactKind.OTHER):
        raise Invalid("artifact_type: must be one of image, other")
    _require_one(wanted, ("upload_uuid", "blob_uuid", "url"))
    namespace = find_namespace(caller, wanted.get("namespace", caller.namespace))
    _check_sharing(caller, wanted)
    check_label(name)
    if "source_url" in wanted and not PRINTABLE_SOURCE.match(wanted["source_url"]):
        raise Invalid("source_url: must be printable")
    if wanted.get("source_url", "").startswith("sf://label/"):
        raise Invalid("source_url: labels are made at /label")
    return _publication(caller, name, wanted, fetch_allow, namespace=namespace.name, kind=kind)


def new_label(caller: Caller, name: str, wanted: Mapping[str, Any], fetch_allow: Iterable[str]) -> NewUploadedArtifact:
    """A label, called `NAME` or `NAMESPACE/NAME`, with a new version: of an artifact's version, an upload, a blob, a URL.

    Only the owner and system write a label (AR-10): a foreign namespace is NotFound, even one that trusts the caller.
    """
    owner, label = label_name(caller, name)
    if owner != caller.namespace and not caller.is_system:
        raise NotFound(f"namespace not found: {owner}")
    _require_one(wanted, ("blob_uuid", "artifact", "url", "upload_uuid"))
    if "version" in wanted and "artifact" not in wanted:
        raise Invalid("version: is that of an artifact, which is not named")
    namespace = find_namespace(caller, owner)
    _check_sharing(caller, wanted)
    if "artifact" in wanted:
        wanted = {**wanted, "blob_uuid": str(_version(caller, wanted["artifact"], wanted.get("version")).blob_id)}
    return _publication(caller, label, wanted, fetch_allow, namespace=namespace.name, kind=ArtifactKind.LABEL)


def label_name(caller: Caller, name: str) -> tuple[str, str]:
    """(namespace, name) of `NAME`, which is the caller's own, or `NAMESPACE/NAME`."""
    owner, slash, label = name.partition("/")
    if not slash:
        owner, label = caller.namespace, name
    return owner, check_label(label)


def find_label(caller: Caller, name: str, *, to_write: bool = False) -> Artifact:
    owner, label = label_name(caller, name)
    rows = visible_artifacts(caller).select_related("namespace").filter(kind=ArtifactKind.LABEL, name=label)
    row = rows.filter(namespace__name=owner).exclude(state=State.DELETED).first()
    if row is None or (to_write and not caller.is_system and caller.namespace != owner):
        raise NotFound(f"label not found: {owner}/{label}")
    return row


def _version(caller: Caller, ref: str, number: int | None) -> ArtifactVersion:
    rows = find_artifact(caller, ref).versions.filter(blob__state=State.CREATED).order_by("-index")
    version = (rows.filter(index=number) if number is not None else rows).first()
    if version is None:
        raise NotFound(f"artifact {ref} has no such version")
    return version


def _publication(
    caller: Caller, name: str, wanted: Mapping[str, Any], fetch_allow: Iterable[str], **more: str
) -> NewUploadedArtifact:
    upload, blob, url = wanted.get("upload_uuid"), wanted.get("blob_uuid"), wanted.get("url")
    if upload is not None and find_upload(caller, upload).size == 0:
        raise Invalid("upload_uuid: the upload is empty, and blobs must have content")
    if blob is not None:
        find_blob(caller, blob)
    return NewUploadedArtifact(
        name=name,
        upload=upload,
        blob=blob,
        url=check_image_url(url, fetch_allow) if url is not None else None,
        source_url=wanted.get("source_url"),
        shared=wanted.get("shared", False),
        sha512=_check_sha512(wanted.get("sha512")),
        max_versions=wanted.get("max_versions"),
        verbatim=more["kind"] == ArtifactKind.OTHER,
        **more,
    )


def _require_one(wanted: Mapping[str, Any], names: tuple[str, ...]) -> None:
    if sum(name in wanted for name in names) != 1:
        raise Invalid(f"{names[0]}: exactly one of {', '.join(names[:-1])} and {names[-1]} is needed")


@durable
def grant(caller: Caller, artifact: Artifact, namespace: str) -> None:
    """Let a namespace see the artifact; a repeat changes nothing."""
    row = Namespace.objects.filter(name=namespace, state=State.CREATED).first()
    if row is None:
        raise NotFound(f"namespace not found: {namespace}")
    if row.pk == artifact.namespace_id:
        raise Invalid("namespace: is the artifact's own")
    if ArtifactGrant.objects.get_or_create(artifact=artifact, namespace=row)[1]:
        _tell(caller, artifact, f"granted to {row.name}")


@durable
def revoke(caller: Caller, artifact: Artifact, namespace: str) -> None:
    if not ArtifactGrant.objects.filter(artifact=artifact, namespace__name=namespace).delete()[0]:
        raise NotFound(f"the artifact is not granted to {namespace}")
    _tell(caller, artifact, f"no longer granted to {namespace}")


def grants_of(artifact: Artifact) -> list[dict[str, str]]:
    rows = ArtifactGrant.objects.filter(artifact=artifact).order_by("namespace__name")
    return [{"namespace": name, "permission": word} for name, word in rows.values_list("namespace__name", "permission")]


def reasons_to_see(caller: Caller, artifacts: Sequence[Artifact]) -> dict[uuid.UUID, str]:
    """Why the caller sees each of these: own, granted, shared, trust, or system, which sees all (AR-13)."""
    uuids = [row.pk for row in artifacts]
    mine = ArtifactGrant.objects.filter(artifact__in=uuids, namespace__name=caller.namespace)
    granted = set(mine.values_list("artifact_id", flat=True))
    trusting = set(Trust.objects.filter(trusted_id=caller.namespace_uuid).values_list("namespace_id", flat=True))
    found = {}
    for row in artifacts:
        words = {
            "own": row.namespace_id == caller.namespace_uuid,
            "granted": row.pk in granted,
            "shared": row.shared,
            "trust": row.namespace_id in trusting,
        }
        found[row.pk] = next((word for word, holds in words.items() if holds), "system")
    return found


def _tell(caller: Caller, artifact: Artifact, message: str) -> None:
    facts = {"by": str(caller)}
    events.record("audit", message, [("artifact", artifact.pk)], extra=facts, request_id=caller.request_id)


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
    if not is_digest(text, "sha512"):
        raise Invalid("sha512: must be 128 hexadecimal digits")
    return text

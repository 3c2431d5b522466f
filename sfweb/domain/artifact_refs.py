"""From a disk's `base` to a blob: labels, uploads, snapshots, blobs and URLs, each by an explicit form (AR-4, AR-9)."""

import hashlib
import uuid

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from sfweb.domain.callers import Caller
from sfweb.domain.image_urls import SCHEMES, check_image_url
from sfweb.domain.lookup import as_uuid, may_read_blob, visible_artifacts
from sfweb.domain.transactions import Again, is_duplicate
from sfweb.errors import Invalid, NotFound
from sfweb.models import Artifact, ArtifactKind, ArtifactVersion, Blob, Namespace
from sfweb.models.state import State

NOTHING = (None, "", "none")
FORMS = (
    "http(s)://…, label:NAME, sf://label/NAMESPACE/NAME, sf://upload/NAMESPACE/NAME, sf://artifact/UUID,"
    " sf://snapshot/UUID, sf://blob/UUID"
)


def resolve(caller: Caller, base: str | None, namespace: Namespace) -> Blob | None:
    """The blob that a disk lies on; None for a blank disk.

    A URL that nobody has fetched makes an artifact of `namespace` with a blob that is still to be fetched. Everything
    else must be there and ready: NotFound otherwise, and no row is made.
    """
    if base in NOTHING or base is None:
        return None
    if base.startswith("label:"):
        return _newest(_by_source(caller, f"sf://label/{namespace.name}/{base[6:]}"), base)
    if base.startswith(("sf://label/", "sf://upload/")):
        return _newest(_by_source(caller, base), base)
    if base.startswith(("sf://snapshot/", "sf://artifact/")):
        value = as_uuid(base.rpartition("/")[2])
        return _newest(visible_artifacts(caller).filter(uuid=value) if value else Artifact.objects.none(), base)
    if base.startswith("sf://blob/"):
        return _blob(caller, base)
    if not base.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise Invalid(f"{base[:100]} is not one of {FORMS}")
    return fetched_from(namespace, check_image_url(base, settings.FETCH_ALLOW, "base"))


def fetched_from(namespace: Namespace, url: str) -> Blob:
    """The newest blob of the URL in the namespace, made to be fetched when there is none that is or will be ready."""
    artifact = image_artifact(namespace, url)
    usable = (State.INITIAL, State.CREATED)
    version = artifact.versions.filter(blob__state__in=usable).select_related("blob").order_by("-index").first()
    return version.blob if version else add_version(artifact, source_url=url)


def image_artifact(namespace: Namespace, url: str, *, shared: bool = False) -> Artifact:
    """The living image artifact of this URL and namespace; made when there is none."""
    return artifact_of(
        namespace, ArtifactKind.IMAGE, url, name=url.rpartition("/")[2][:255] or url[:255], shared=shared
    )


def artifact_of(namespace: Namespace, kind: str, source_url: str, *, name: str, shared: bool = False) -> Artifact:
    """The living artifact of this kind, namespace and source. Raises Again when another request made it in this moment."""
    key = hashlib.sha256(f"{kind}\n{namespace.pk}\n{source_url}".encode()).hexdigest()
    row = Artifact.objects.select_for_update().filter(active_key=key).first()
    if row is not None:
        return row
    try:
        with transaction.atomic():
            return Artifact.objects.create(
                namespace=namespace, kind=kind, name=name, source_url=source_url, active_key=key, shared=shared
            )
    except IntegrityError as error:
        if is_duplicate(error):
            raise Again from error
        raise


def add_version(artifact: Artifact, **columns: object) -> Blob:
    """A new version with a blob that is still to arrive."""
    return attach_version(artifact, Blob.objects.create(**columns))


def attach_version(artifact: Artifact, blob: Blob) -> Blob:
    """Append `blob` as the newest version. The artifact's row must be locked."""
    last = artifact.versions.order_by("-index").values_list("index", flat=True).first() or 0
    ArtifactVersion.objects.create(artifact=artifact, index=last + 1, blob=blob)
    return blob


def is_referenced(blob: uuid.UUID) -> bool:
    """True while a living artifact's version or a living instance's disk is made of the blob."""
    row = Blob.objects.get(pk=blob)
    if row.versions.exclude(artifact__state=State.DELETED).exists():
        return True
    users = row.disks.exclude(instance__state=State.DELETED), row.nvram_of.exclude(state=State.DELETED)
    return any(rows.exists() for rows in users)


def _by_source(caller: Caller, source: str) -> QuerySet[Artifact]:
    """Artifacts called `sf://KIND/NAMESPACE/NAME`, of that namespace only: anybody may write any source at his own (AR-9)."""
    owner = source.removeprefix("sf://").split("/", 2)[1]
    return visible_artifacts(caller).filter(source_url=source, namespace__name=owner)


def _newest(rows: QuerySet[Artifact], base: str) -> Blob:
    artifact = rows.exclude(state=State.DELETED).order_by("-created_at").first()
    version = None
    if artifact:
        ready = artifact.versions.filter(blob__state=State.CREATED)
        version = ready.select_related("blob").order_by("-index").first()
    if version is None:
        raise NotFound(f"artifact not found or not ready: {base}")
    return version.blob


def _blob(caller: Caller, base: str) -> Blob:
    value = as_uuid(base.rpartition("/")[2])
    row = Blob.objects.filter(uuid=value, state=State.CREATED).first() if value else None
    if row is None or not may_read_blob(caller, row):
        raise NotFound(f"blob not found: {base}")
    return row

"""From a disk's `base` to a blob: an explicit form means one thing (AR-4, AR-9), a bare name never one of several (AR-1)."""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from sfweb.domain import catalogue
from sfweb.domain.callers import Caller
from sfweb.domain.image_urls import SCHEMES, check_image_url
from sfweb.domain.lookup import MOST_MATCHES, as_uuid, may_read_blob, shown_to, visible_artifacts
from sfweb.domain.rows import insert, insert_all_unless_taken
from sfweb.domain.transactions import Again
from sfweb.errors import Conflict, Invalid, NotFound
from sfweb.models import (
    AgentOperation,
    Artifact,
    ArtifactKind,
    ArtifactVersion,
    Blob,
    Disk,
    Instance,
    Namespace,
    Screenshot,
)
from sfweb.models.state import AgentOperationState, State

NOTHING = (None, "", "none")
BY_SOURCE = ("sf://label/", "sf://upload/", "sf://instance/")
BY_UUID = ("sf://snapshot/", "sf://artifact/")
ARCHIVE = "sf://archive/"
USABLE = (State.INITIAL, State.CREATED)
"""Blobs that are there, or will be."""
FORMS = (
    "http(s)://…, label:NAME, image:NAME, sf://label/NAMESPACE/NAME, sf://upload/NAMESPACE/NAME, sf://artifact/UUID,"
    " sf://snapshot/UUID, sf://blob/UUID, sf://instance/UUID/DEVICE, or the name of a label or of a well-known image"
)
BARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*(/[A-Za-z0-9][A-Za-z0-9._:+-]*)?\Z")


def check_base(base: str, allowed: Iterable[str], parameter: str) -> str:
    """Return `base` if it has one of the forms, whatever it refers to; refuse it as Invalid otherwise (AR-4)."""
    if base.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        return check_image_url(base, allowed, parameter)
    if not base.startswith(("label:", "image:", "sf://blob/", ARCHIVE, *BY_SOURCE, *BY_UUID)) and not BARE.match(base):
        raise Invalid(f"{parameter}: {base[:100]} is not one of {FORMS}")
    return base


def resolve(caller: Caller, base: str | None, namespace: Namespace) -> Blob | None:
    """The blob that a disk lies on; None for a blank disk.

    A URL that nobody has fetched, and a well-known image, make an artifact of `namespace` with a blob that is still to be
    fetched. Everything else must be there and ready: NotFound otherwise, and no row is made.
    """
    if base in NOTHING or base is None:
        return None
    check_base(base, settings.FETCH_ALLOW, "base")
    for prefixes, meaning in _MEANINGS.items():
        if base.startswith(prefixes):
            return meaning(caller, base, namespace)
    return _meant_by(base, namespace)


def _by_uuid(caller: Caller, base: str, namespace: Namespace) -> Blob:
    value = as_uuid(base.rpartition("/")[2])
    return _newest(visible_artifacts(caller).filter(uuid=value) if value else Artifact.objects.none(), base)


def _by_label(caller: Caller, base: str, namespace: Namespace) -> Blob:
    return _newest(_by_source(caller, label_source(namespace.name, base.removeprefix("label:"))), base)


def _unpacked(caller: Caller, base: str, namespace: Namespace) -> Blob:
    """A disk of an archive that was imported into the namespace; one that is still to be copied out counts too."""
    versions = ArtifactVersion.objects.filter(artifact__namespace=namespace, artifact__source_url=base)
    version = versions.filter(blob__state__in=USABLE).select_related("blob").order_by("-pk").first()
    if version is None:
        raise NotFound(f"artifact not found or not ready: {base}")
    return version.blob


def label_source(namespace: str, name: str) -> str:
    """The source of the label that `name`, with or without its namespace before it, means in `namespace`."""
    return f"sf://label/{name}" if "/" in name else f"sf://label/{namespace}/{name}"


def _meant_by(name: str, namespace: Namespace) -> Blob:
    """The one thing that a bare name can mean in a namespace; Conflict listing all when it can mean several (AR-1).

    A name alone means labels of one's own and shared ones: anybody may trust a namespace, or grant it something, and must
    not put words into its mouth by that. Theirs are named with their namespace.
    """
    labels = shown_to(namespace.pk).filter(kind=ArtifactKind.LABEL, state__in=(State.INITIAL, State.CREATED))
    if "/" in name:
        found = list(labels.filter(source_url=label_source("", name), namespace__name=name.partition("/")[0])[:2])
    else:
        mine = Q(namespace=namespace) | Q(shared=True)
        found = list(labels.filter(mine, name=name).order_by("namespace__name")[:MOST_MATCHES])
    matches = [row.source_url for row in found]
    if catalogue.find(name) is not None:
        matches.append(f"image:{name}")
    if len(matches) > 1:
        raise Conflict(
            f"{name} can mean {', '.join(matches)}: say which",
            code="ambiguous_reference",
            details={"matches": matches},
        )
    if not matches:
        raise NotFound(f"there is no label and no well-known image called {name}")
    return _newest(labels.filter(pk=found[0].pk), name) if found else _well_known(namespace, name)


def _well_known(namespace: Namespace, name: str) -> Blob:
    image = catalogue.find(name)
    if image is None:
        raise NotFound(f"there is no well-known image called {name}")
    return fetched_from(namespace, check_image_url(image.url, settings.FETCH_ALLOW, "base"), image.checksums)


def fetched_from(namespace: Namespace, url: str, checksums: str = "") -> Blob:
    """The newest blob of the URL in the namespace, made to be fetched when there is none that is or will be ready."""
    artifact = image_artifact(namespace, url)
    version = newest_version(artifact, *USABLE)
    return version.blob if version else add_version(artifact, source_url=url, checksums_url=checksums)


def newest_version(artifact: Artifact, *states: State) -> ArtifactVersion | None:
    """The newest version whose blob is in one of these states."""
    return artifact.versions.filter(blob__state__in=states).select_related("blob").order_by("-index").first()


def image_artifact(namespace: Namespace, url: str, *, shared: bool = False) -> Artifact:
    """The living image artifact of this URL and namespace; made when there is none."""
    return artifact_of(
        namespace, ArtifactKind.IMAGE, url, name=url.rpartition("/")[2][:255] or url[:255], shared=shared
    )


class Source(NamedTuple):
    """Of what an artifact is: there is one living of each kind, namespace and URL."""

    namespace: Namespace
    kind: str
    url: str
    name: str
    shared: bool = False

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.kind}\n{self.namespace.pk}\n{self.url}".encode()).hexdigest()


def artifact_of(namespace: Namespace, kind: str, source_url: str, *, name: str, shared: bool = False) -> Artifact:
    """The living artifact of this kind, namespace and source. Raises Again when another request made it in this moment."""
    return artifacts_of([Source(namespace, kind, source_url, name, shared)])[0]


def artifacts_of(sources: Sequence[Source]) -> list[Artifact]:
    """`artifact_of` for each. They are locked in the order of their keys."""
    keys = [source.key for source in sources]
    locked = Artifact.objects.select_for_update().filter(active_key__in=set(keys)).order_by("active_key")
    found = {row.active_key: row for row in locked}
    made = {
        key: Artifact(
            namespace=one.namespace, kind=one.kind, name=one.name, source_url=one.url, active_key=key, shared=one.shared
        )
        for key, one in sorted(zip(keys, sources, strict=True), key=itemgetter(0))
        if key not in found
    }
    if not insert_all_unless_taken(list(made.values())):
        raise Again
    return [(found | made)[key] for key in keys]


def add_version(artifact: Artifact, **columns: Any) -> Blob:
    """A new version with a blob that is still to arrive."""
    blob = Blob(**columns)
    insert([blob])
    return attach_version(artifact, blob)


def attach_version(artifact: Artifact, blob: Blob, **columns: Any) -> Blob:
    """Append `blob` as the newest version. The artifact's row must be locked."""
    attach_versions([(artifact, blob, columns)])
    return blob


def attach_versions(versions: Sequence[tuple[Artifact, Blob, Mapping[str, Any]]]) -> None:
    """`attach_version` for each, in this order."""
    rows = ArtifactVersion.objects.filter(artifact__among={artifact.pk for artifact, *_ in versions})
    last = dict(rows.order_by().values_list("artifact").annotate(Max("index")))
    made = []
    for artifact, blob, columns in versions:
        last[artifact.pk] = last.get(artifact.pk, 0) + 1
        made.append(ArtifactVersion(artifact=artifact, index=last[artifact.pk], blob=blob, **columns))
    insert(made)


def is_used() -> Q:
    """What still needs a blob, as a condition on blobs.

    A version of a living artifact, a disk or the firmware of a living instance, a guest's file that somebody asked for, a
    picture of a screen, a disk that is still to be copied out of it.
    """
    here = {"blob": OuterRef("pk")}
    instances = Instance.objects.filter(nvram_blob=OuterRef("pk")).exclude(state=State.DELETED)
    return (
        is_made_into()
        | Q(Exists(instances))
        | Q(Exists(AgentOperation.objects.filter(**here).exclude(state=AgentOperationState.DELETED)))
        | Q(Exists(Screenshot.objects.filter(**here)))
        | Q(Exists(Blob.objects.filter(archive=OuterRef("pk"), state=State.INITIAL)))
    )


def is_made_into() -> Q:
    """A version of a living artifact, or a disk of a living instance: what copies are kept of."""
    here, gone = {"blob": OuterRef("pk")}, State.DELETED
    versions = ArtifactVersion.objects.filter(**here).exclude(artifact__state=gone)
    return Q(Exists(versions)) | Q(Exists(Disk.objects.filter(**here).exclude(instance__state=gone)))


def is_referenced(blob: uuid.UUID) -> bool:
    """True while anything needs the blob."""
    return Blob.objects.filter(is_used(), pk=blob).exists()


def _by_source(caller: Caller, source: str) -> QuerySet[Artifact]:
    """Artifacts called `sf://KIND/OWNER/NAME`, of that owner only: anybody may write any source at his own (AR-9)."""
    kind, owner = source.removeprefix("sf://").split("/", 2)[:2]
    rows = visible_artifacts(caller).filter(source_url=source)
    if kind == "instance":
        identity = as_uuid(owner)
        instance = Instance.objects.filter(pk=identity) if identity else Instance.objects.none()
        return rows.filter(namespace__in=instance.values("namespace"), kind=ArtifactKind.SNAPSHOT)
    return rows.filter(namespace__name=owner)


def _newest(rows: QuerySet[Artifact], base: str) -> Blob:
    artifact = rows.exclude(state=State.DELETED).order_by("-created_at").first()
    version = None
    if artifact:
        ready = artifact.versions.filter(blob__state=State.CREATED)
        version = ready.select_related("blob").order_by("-index").first()
    if version is None:
        raise NotFound(f"artifact not found or not ready: {base}")
    return version.blob


def _blob(caller: Caller, base: str, namespace: Namespace) -> Blob:
    value = as_uuid(base.rpartition("/")[2])
    row = Blob.objects.filter(uuid=value, state=State.CREATED).first() if value else None
    if row is None or not may_read_blob(caller, row):
        raise NotFound(f"blob not found: {base}")
    return row


_MEANINGS: Mapping[str | tuple[str, ...], Callable[[Caller, str, Namespace], Blob]] = {
    "label:": _by_label,
    BY_SOURCE: lambda caller, base, namespace: _newest(_by_source(caller, base), base),
    BY_UUID: _by_uuid,
    "sf://blob/": _blob,
    ARCHIVE: _unpacked,
    "image:": lambda caller, base, namespace: _well_known(namespace, base.removeprefix("image:")),
    tuple(f"{scheme}://" for scheme in SCHEMES): lambda caller, base, namespace: fetched_from(namespace, base),
}
"""What each explicit form of a base is looked up by."""

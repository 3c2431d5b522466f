"""From what a caller typed to one row: by uuid (deleted ones too) or by name among the living, never another's.

What the caller may not see is NotFound, exactly like what does not exist. A name that fits several is
refused as ambiguous.
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.db import models
from django.db.models import Exists, OuterRef, Q

from sfweb.domain.callers import Caller, is_trusted_by
from sfweb.errors import Invalid, NotFound
from sfweb.models import (
    AgentOperation,
    Artifact,
    ArtifactKind,
    ArtifactVersion,
    Blob,
    Disk,
    Instance,
    Interface,
    Namespace,
    Network,
    Node,
    Operation,
    Screenshot,
    Upload,
)
from sfweb.models.network import FLOATING
from sfweb.models.state import AgentOperationState, State

Row = TypeVar("Row", bound=models.Model)
MOST_MATCHES = 10
"""So many of what one name could mean are told."""


def as_uuid(ref: str) -> uuid.UUID | None:
    """The uuid that `ref` spells in its canonical form, or None."""
    try:
        value = uuid.UUID(ref)
    except (ValueError, AttributeError, TypeError):
        return None
    return value if str(value) == ref.lower() else None


def find_namespace(caller: Caller, name: str) -> Namespace:
    """A living namespace that is the caller's own or trusts it."""
    row = Namespace.objects.filter(name=name, state=State.CREATED).first()
    if row is None or not is_trusted_by(caller, row):
        raise NotFound(f"namespace not found: {name}")
    return row


def lock_namespaces(caller: Caller, names: Iterable[str]) -> dict[str, Namespace]:
    """Those of `names` that `find_namespace` would find, by name and locked, in an order that all who lock several have."""
    rows = Namespace.objects.select_for_update().filter(name__in=set(names), state=State.CREATED).order_by("name")
    return {row.name: row for row in rows if is_trusted_by(caller, row)}


def find_own_namespace(caller: Caller, name: str) -> Namespace:
    """As `find_namespace`, without those that only trust the caller."""
    row = find_namespace(caller, name)
    if not caller.is_system and caller.namespace_uuid != row.uuid:
        raise NotFound(f"namespace not found: {name}")
    return row


def find_instance(caller: Caller, ref: str, namespace: str | None = None) -> Instance:
    return _owned(Instance, "instance", caller, ref, namespace)


def read_instance(
    caller: Caller, ref: str, namespace: str | None, read: Callable[[models.QuerySet[Instance]], models.QuerySet[Any]]
) -> Any:
    """As `find_instance`, in the same query as what `read` takes of the rows."""
    return _one(list(read(_meant(Instance, caller, ref, namespace))), "instance", ref, namespace or caller.namespace)


def find_network(caller: Caller, ref: str, namespace: str | None = None) -> Network:
    if as_uuid(ref) == FLOATING or ref == "floating":
        if not caller.is_system:
            raise NotFound(f"network not found: {ref}")
        return Network.objects.get(uuid=FLOATING)
    return _owned(Network, "network", caller, ref, namespace)


def find_interface(caller: Caller, ref: str) -> Interface:
    value = as_uuid(ref)
    rows = Interface.objects.select_related("instance", "network")
    row = rows.filter(uuid=value).first() if value else None
    if row is None or not (caller.is_system or row.instance.namespace_id == caller.namespace_uuid):
        raise NotFound(f"interface not found: {ref}")
    return row


def visible_artifacts(caller: Caller) -> models.QuerySet[Artifact]:
    """Artifacts that are the caller's, granted to it, shared, or of a namespace that trusts it."""
    return Artifact.objects.all() if caller.is_system else shown_to(caller.namespace_uuid)


def shown_to(namespace: uuid.UUID | None) -> models.QuerySet[Artifact]:
    """What a namespace sees by itself, `system` too: its own, granted, shared, and what trusts it (AR-13)."""
    reasons = Q(namespace_id=namespace) | Q(shared=True) | Q(grants__namespace_id=namespace)
    return Artifact.objects.filter(reasons | Q(namespace__trusts__trusted_id=namespace)).distinct()


def find_artifact(caller: Caller, ref: str, *, to_write: bool = False) -> Artifact:
    """By uuid, or by name or source among the living. With `to_write` only what the caller may change.

    What a name means to everybody who uses it, a label, only its owner and system change (AR-10).
    """
    value = as_uuid(ref)
    rows = visible_artifacts(caller).select_related("namespace")
    if value:
        found = list(rows.filter(uuid=value)[:2])
    else:
        meant = Q(name=ref) | Q(source_url=ref) if "://" in ref else Q(name=ref)
        alive = rows.exclude(state=State.DELETED).filter(meant)
        found = list(alive.filter(namespace__name=caller.namespace)[:MOST_MATCHES]) or list(alive[:MOST_MATCHES])
    row: Artifact = _one(found, "artifact", ref, caller.namespace)
    if to_write and not _may_write(caller, row):
        raise NotFound(f"artifact not found: {ref}")
    return row


def _may_write(caller: Caller, row: Artifact) -> bool:
    if row.kind == ArtifactKind.LABEL:
        return caller.is_system or caller.namespace_uuid == row.namespace_id
    return is_trusted_by(caller, row.namespace)


def find_blob(caller: Caller, ref: str) -> Blob:
    """A blob that an artifact version or instance disk of the caller's, or one that it may see, refers to (SE-11)."""
    value = as_uuid(ref)
    row = Blob.objects.filter(uuid=value).first() if value else None
    if row is None or not may_read_blob(caller, row):
        raise NotFound(f"blob not found: {ref}")
    return row


def may_read_blob(caller: Caller, blob: Blob) -> bool:
    return readable_blobs(caller).filter(pk=blob.pk).exists()


def readable_blobs(caller: Caller) -> models.QuerySet[Blob]:
    """Blobs that a version of an artifact that the caller sees, or a disk of an instance of its own, is made of (SE-11)."""
    if caller.is_system:
        return Blob.objects.all()
    versions = ArtifactVersion.objects.filter(blob=OuterRef("pk"), artifact__in=visible_artifacts(caller).values("pk"))
    disks = Disk.objects.filter(blob=OuterRef("pk"), instance__namespace__name=caller.namespace)
    fetched = AgentOperation.objects.filter(blob=OuterRef("pk"), namespace__name=caller.namespace)
    pictures = Screenshot.objects.filter(blob=OuterRef("pk"), instance__namespace__name=caller.namespace)
    return Blob.objects.filter(
        Exists(versions)
        | Exists(disks.exclude(instance__state=State.DELETED))
        | Exists(fetched.exclude(state=AgentOperationState.DELETED))
        | Exists(pictures)
    )


def find_upload(caller: Caller, ref: str) -> Upload:
    rows = Upload.objects.select_related("node").filter(state=State.CREATED)
    return find_own(rows, "upload", caller, ref)


def find_node(ref: str) -> Node:
    value = as_uuid(ref)
    row = Node.objects.filter(Q(uuid=value) if value else Q(name=ref)).first()
    if row is None:
        raise NotFound(f"node not found: {ref}")
    return row


def find_operation(caller: Caller, ref: str) -> Operation:
    return find_own(Operation.objects.select_related("namespace"), "operation", caller, ref)


def find_own(rows: "models.QuerySet[Row]", noun: str, caller: Caller, ref: str) -> Row:
    """Of things without names: the one with that uuid, if it is the caller's."""
    value = as_uuid(ref)
    mine = rows if caller.is_system else rows.filter(namespace=caller.namespace_uuid)
    row = mine.filter(uuid=value).first() if value else None
    if row is None:
        raise NotFound(f"{noun} not found: {ref}")
    return row


def _owned(model: type[Row], noun: str, caller: Caller, ref: str, namespace: str | None) -> Row:
    found = list(_meant(model, caller, ref, namespace).select_related("namespace"))
    row: Row = _one(found, noun, ref, namespace or caller.namespace)
    return row


def _meant(model: type[Row], caller: Caller, ref: str, namespace: str | None) -> models.QuerySet[Row]:
    """The caller's rows that `ref` can mean, at most so many as are told."""
    rows = model._default_manager.all()
    if not caller.is_system:
        rows = rows.filter(namespace__name=caller.namespace)
    if namespace is not None:
        rows = rows.filter(namespace__name=namespace)
    value = as_uuid(ref)
    if value:
        return rows.filter(uuid=value)
    return rows.filter(name=ref).exclude(state=State.DELETED).exclude(pk=FLOATING)[:MOST_MATCHES]


def _one(found: list[Any], noun: str, ref: str, namespace: str) -> Any:
    if not found:
        raise NotFound(f"{noun} not found: {ref}")
    if len(found) > 1:
        raise Invalid(
            f'multiple {noun}s have the name "{ref}" in namespace "{namespace}"',
            code="ambiguous",
            details={"matches": [str(row.uuid) for row in found]},
        )
    return found[0]

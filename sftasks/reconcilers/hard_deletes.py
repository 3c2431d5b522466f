"""Takes away the rows of what was deleted long enough ago, and with them the values that their names kept (NW-9, CO-13).

Only what no node may still hold: an object with a residue stays until that is confirmed.
"""

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Model, OuterRef, QuerySet

from sftasks import attachment, wishes
from sftasks.passes import one_of_many
from sfweb.domain import allocator, consoles, event_retention, pending
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict
from sfweb.models import (
    Address,
    AgentOperation,
    Artifact,
    Blob,
    CarrierLease,
    IdempotencyKey,
    Instance,
    Interface,
    Key,
    Metadata,
    Namespace,
    Network,
    NodeObject,
    Operation,
    PlacementReservation,
    Schedule,
    SnapshotSet,
    Step,
    Tick,
    Wanted,
)
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, OPEN_STEP, State, TickState

PAGE = 200
IDEMPOTENCY_SECONDS = 86400
EVENT_PAGES = 100
"""So many pages of an object's events go with its row; what is left then, or when this process dies, goes by its age."""


def run() -> dict[str, int]:
    """One bounded page of each kind, children before parents."""
    return {
        "operations": _operations(),
        "instances": sum(_guarded("instance", _instance, pk) for pk in _long_gone(Instance, "instance")),
        "networks": sum(_guarded("network", _network, pk) for pk in _long_gone(Network, "network")),
        "snapshots": _snapshots(),
        "artifacts": sum(_guarded("artifact", _artifact, pk) for pk in _long_gone(Artifact, None)),
        "blobs": sum(_guarded("blob", _blob, pk) for pk in _unused_blobs()),
        "schedules": _schedules(),
        "ticks": _ticks(),
        "keys": _keys(),
        "namespaces": sum(_guarded("namespace", _namespace, pk) for pk in _namespaces()),
        "console_tickets": consoles.reap(),
        "idempotency_keys": IdempotencyKey.objects.filter(created_at__lt=FromNow(-IDEMPOTENCY_SECONDS)).delete()[0],
    }


def _guarded(object_type: str, forget: Callable[[UUID], int], pk: UUID) -> int:
    """A row that goes takes its events along (EV-14)."""

    def act() -> int:
        if not forget(pk):
            return 0
        event_retention.forget(object_type, [pk], EVENT_PAGES)
        return 1

    return one_of_many(act, "row cannot be deleted", uuid=str(pk))


def _long_gone(model: type[Model], object_type: str | None) -> "QuerySet[Model, UUID]":
    old = FromNow(-settings.CLEANER_DELAY_SECONDS)
    rows = model._default_manager.filter(state=State.DELETED, deleted_at__lt=old)
    if object_type:
        kinds = (object_type, "router") if object_type == "network" else (object_type,)
        held = NodeObject.objects.filter(object_type__in=kinds, object_uuid=OuterRef("pk"))
        held = held.exclude(node__state=State.DELETED)  # given up: nobody waits for it
        rows = rows.exclude(Exists(wishes.not_gone(held)))
    if model is Network:
        rows = rows.exclude(Exists(Interface.objects.filter(network=OuterRef("pk"))))  # they go with their instances
    return rows.order_by("deleted_at").values_list("pk", flat=True)[:PAGE]


def _unused_blobs() -> "QuerySet[Blob, UUID]":
    unused = {f"{what}__isnull": True for what in ("locations", "versions", "disks", "nvram_of", "agent_operations")}
    rows = Blob.objects.filter(state=State.DELETED, **unused)
    held = NodeObject.objects.filter(object_type="blob", object_uuid=OuterRef("pk"))
    return rows.exclude(Exists(held.exclude(applied_wanted=Wanted.ABSENT))).values_list("pk", flat=True)[:PAGE]


def _operations() -> int:
    """Ended operations without an open step, after their time; what others still refer to stays (EN-14).

    So does one that is the only sign that a node may hold something: a step was sent, and nothing was confirmed (EN-1).
    """
    ended = Operation.objects.exclude(state__in=OPEN_OPERATION)
    old = ended.filter(finished_at__lt=FromNow(-settings.OPERATION_KEEP_SECONDS), dependents__isnull=True)
    open_steps = Step.objects.filter(operation=OuterRef("pk"), state__in=OPEN_STEP)
    where = {name: OuterRef(name) for name in ("node", "object_type", "object_uuid")}
    unconfirmed = Exists(NodeObject.objects.filter(**where, confirmed_at__isnull=True))
    signs = Step.objects.filter(unconfirmed, operation=OuterRef("pk"), first_sent_at__isnull=False)
    keys = list(old.exclude(Exists(open_steps)).exclude(Exists(signs)).values_list("pk", flat=True)[:PAGE])
    if not event_retention.forget("operation", keys, EVENT_PAGES):
        return 0
    Operation.objects.filter(pk__in=keys).delete()
    return len(keys)


def _snapshots() -> int:
    """Sets that ended and have no disk left, whether they were deleted or their versions were one by one."""
    old = FromNow(-settings.CLEANER_DELAY_SECONDS)
    rows = SnapshotSet.objects.filter(versions__isnull=True, created_at__lt=old).exclude(state=State.INITIAL)
    keys = list(rows.exclude(pending.pending_outer("snapshot")).values_list("pk", flat=True)[:PAGE])
    return SnapshotSet.objects.filter(pk__in=keys).delete()[0]


def _schedules() -> int:
    """Their ticks go with them."""
    old = Schedule.objects.filter(state=State.DELETED, deleted_at__lt=FromNow(-settings.CLEANER_DELAY_SECONDS))
    keys = list(old.values_list("pk", flat=True)[:PAGE])
    if not event_retention.forget("schedule", keys, EVENT_PAGES):
        return 0
    Schedule.objects.filter(pk__in=keys).delete()
    return len(keys)


def _ticks() -> int:
    """The history of living schedules is as long as that of operations."""
    old = Tick.objects.filter(created_at__lt=FromNow(-settings.OPERATION_KEEP_SECONDS))
    keys = list(old.exclude(state=TickState.STARTED).order_by("created_at").values_list("pk", flat=True)[:PAGE])
    return Tick.objects.filter(pk__in=keys).delete()[0]


def _keys() -> int:
    old = Key.objects.filter(state=State.DELETED, deleted_at__lt=FromNow(-settings.CLEANER_DELAY_SECONDS))
    return old.filter(pk__in=list(old.values_list("pk", flat=True)[:PAGE])).delete()[0]


def _namespaces() -> "QuerySet[Namespace, UUID]":
    """Long deleted ones that no row speaks of any more: only then may somebody else have the name."""
    old = Namespace.objects.filter(state=State.DELETED, deleted_at__lt=FromNow(-settings.CLEANER_DELAY_SECONDS))
    rows = (
        "instances",
        "networks",
        "artifacts",
        "uploads",
        "operations",
        "agent_operations",
        "snapshot_sets",
        "schedules",
    )
    return old.filter(**{f"{name}__isnull": True for name in rows}).values_list("pk", flat=True)[:PAGE]


@durable
def _namespace(pk: UUID) -> int:
    Metadata.objects.filter(object_type="namespace", object_uuid=pk).delete()
    return Namespace.objects.filter(pk=pk, state=State.DELETED).delete()[0] and 1


@durable
def _instance(pk: UUID) -> int:
    interfaces = list(Interface.objects.filter(instance_id=pk).values_list("pk", flat=True))
    if not attachment.release(Instance.objects.select_for_update().get(pk=pk)):
        return 0
    for asked in AgentOperation.objects.filter(instance_id=pk).values_list("pk", flat=True):
        attachment.forget_agent_operation(asked)
    PlacementReservation.objects.filter(instance_id=pk).delete()
    Metadata.objects.filter(object_type="interface", object_uuid__in=interfaces).delete()
    Interface.objects.filter(pk__in=interfaces).delete()
    return _forget(Instance, "instance", pk)


@durable
def _network(pk: UUID) -> int:
    Address.objects.filter(network_id=pk).delete()
    CarrierLease.objects.filter(network_id=pk).delete()
    NodeObject.objects.filter(object_type="router", object_uuid=pk).delete()
    if not attachment.release_egress(pk):
        return 0
    allocator.release_all("network", pk)
    return _forget(Network, "network", pk)


@durable
def _artifact(pk: UUID) -> int:
    return _forget(Artifact, "artifact", pk)


@durable
def _blob(pk: UUID) -> int:
    return _forget(Blob, "blob", pk)


def _forget(model: type[Model], object_type: str, pk: UUID) -> int:
    """Unless an operation still works on it, whose end would not find it."""
    if pending.is_pending(object_type, pk):
        raise Conflict(f"{object_type} {pk} is being worked on")
    Metadata.objects.filter(object_type=object_type, object_uuid=pk).delete()
    NodeObject.objects.filter(object_type=object_type, object_uuid=pk).delete()
    return model._default_manager.filter(pk=pk).delete()[0] and 1

"""Is an object busy? The one answer: some open operation that changes it is about it (CO-4).

Never the last operation: a newer one that has ended would mask an older one that still runs. Operations that only look
are left out (CV-1). A failed read raises, so that no gate takes it for "nothing is going on".
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from sfweb.errors import Conflict
from sfweb.models import Operation, OperationTarget
from sfweb.models.state import OPEN_OPERATION

MOVES = ("instance_migrate", "instance_rebuild")


def changing(object_type: str, object_uuid: UUID) -> QuerySet[Operation]:
    """The operations of any state that change the object, newest first."""
    rows = Operation.objects.filter(
        observational=False, targets__target_type=object_type, targets__target_uuid=object_uuid
    )
    return rows.order_by("-created_at", "-uuid")


def pending_among(object_type: str, objects: Collection[UUID]) -> set[UUID]:
    """Which of the objects are busy, by one query for any number of them (CV-2)."""
    return set(_open_targets(object_type).filter(target_uuid__among=objects).values_list("target_uuid", flat=True))


def is_pending(object_type: str, object_uuid: UUID) -> bool:
    return _open_targets(object_type).filter(target_uuid=object_uuid).exists()


def pending_outer(object_type: str) -> Exists:
    """The same as a condition on rows of that type."""
    return Exists(_open_targets(object_type).filter(target_uuid=OuterRef("pk")))


def _open_targets(object_type: str) -> QuerySet[OperationTarget]:
    return OperationTarget.objects.filter(
        target_type=object_type, operation__state__in=OPEN_OPERATION, operation__observational=False
    )


def require_unmoved(instance: UUID) -> None:
    """Raises Conflict while the instance is on its way to another node: what it is made of must not change meanwhile."""
    moves = Operation.objects.filter(object_key=f"instance:{instance}", kind__in=MOVES, state__in=OPEN_OPERATION)
    if moves.exists():
        raise Conflict("the instance is being moved to another node", code="instance.moving")


def require_idle(instance: UUID, mine: UUID) -> None:
    """Raises Conflict while any other operation changes the instance, naming it."""
    rows = Operation.objects.filter(object_key=f"instance:{instance}", state__in=OPEN_OPERATION, observational=False)
    other = rows.exclude(pk=mine).order_by("created_at").first()
    if other is not None:
        message = f"{other.kind} {other.pk} works on the instance"
        raise Conflict(message, code="instance.busy", details={"operation": str(other.pk), "kind": other.kind})

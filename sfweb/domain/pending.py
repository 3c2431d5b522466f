"""Is an object busy? The one answer: some open operation that changes it is about it (CO-4).

Never the last operation: a newer one that has ended would mask an older one that still runs. Operations that only look
are left out (CV-1). A failed read raises, so that no gate takes it for "nothing is going on".
"""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from sfweb.models import Operation, OperationTarget
from sfweb.models.state import OPEN_OPERATION


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

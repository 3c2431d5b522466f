"""What an object's view says of its operations: the newest that changes it, and whether one is still open."""

import uuid
from typing import Any

from sfweb.api.base import operation_handle
from sfweb.models import Operation
from sfweb.models.state import OPEN_OPERATION


def pointers(object_type: str, object_uuid: uuid.UUID) -> dict[str, Any]:
    """Two members for the view of one object; operations that only look are left out (CO-5, CV-1, CV-2)."""
    rows = Operation.objects.filter(
        observational=False, targets__target_type=object_type, targets__target_uuid=object_uuid
    )
    newest = rows.order_by("-created_at", "-uuid").first()
    return {
        "last_cluster_operation": operation_handle(newest) if newest else None,
        "has_pending_operations": rows.filter(state__in=OPEN_OPERATION).exists(),
    }

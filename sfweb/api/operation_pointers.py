"""What an object's view says of its operations: the newest that changes it, and whether one is still open."""

import uuid
from typing import Any

from sfweb.api.base import operation_handle
from sfweb.domain import pending


def pointers(object_type: str, object_uuid: uuid.UUID) -> dict[str, Any]:
    """What the view of one object says beside what a list says; operations that only look are left out (CO-5, CV-1)."""
    newest = pending.changing(object_type, object_uuid).first()
    return {"last_cluster_operation": operation_handle(newest) if newest else None}

"""How much a namespace may have: ceilings, each with a figure in its refusal (SE-12).

A ceiling is the setting's, unless `system` has set another for the namespace. `system` itself has none by default. What is
counted is counted under the lock of the namespace's row, which every request that adds something takes and holds to its
commit, so that no two requests take the last place. Lowering a ceiling takes nothing away: it refuses what is new.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from sfweb.domain import capacity, events
from sfweb.domain.callers import Caller
from sfweb.domain.rows import select
from sfweb.errors import LimitReached, NotFound
from sfweb.models import Instance, Namespace, Network, Operation, Schedule, Upload
from sfweb.models.namespace import SYSTEM
from sfweb.models.state import OperationState, State

SETTINGS = {
    "instances": "NAMESPACE_MAX_INSTANCES",
    "networks": "NAMESPACE_MAX_NETWORKS",
    "disk_gb": "NAMESPACE_MAX_DISK_GIB",
    "uploads": "NAMESPACE_MAX_UPLOADS",
    "waiting_operations": "NAMESPACE_MAX_WAITING",
    "schedules": "NAMESPACE_MAX_SCHEDULES",
}
"""Each ceiling and the setting with its default. `disk_gb`: what the disks of instances take on nodes, GiB."""
MOST = 10**6
AT_ONCE = 100
"""More requests of one namespace than this are never between their look and their commit at one moment."""


def _instances(namespace: UUID) -> int:
    return Instance.objects.filter(namespace=namespace).exclude(state=State.DELETED).count()


def _networks(namespace: UUID) -> int:
    return Network.objects.filter(namespace=namespace).exclude(state=State.DELETED).count()


def _disk_gb(namespace: UUID) -> int:
    return capacity.used_by(namespace).disk_gb


def _uploads(namespace: UUID) -> int:
    return Upload.objects.filter(namespace=namespace, state=State.CREATED).count()


def _schedules(namespace: UUID) -> int:
    return Schedule.objects.filter(namespace=namespace).exclude(state=State.DELETED).count()


def _waiting(namespace: UUID) -> int:
    return Operation.objects.filter(namespace=namespace, state=OperationState.WAITING).count()


COUNTS: Mapping[str, Callable[[UUID], int]] = {
    "instances": _instances,
    "networks": _networks,
    "disk_gb": _disk_gb,
    "uploads": _uploads,
    "waiting_operations": _waiting,
    "schedules": _schedules,
}


def ceiling(namespace: Namespace, name: str) -> int | None:
    """None: as much as there is."""
    if name in namespace.limits:
        return int(namespace.limits[name])
    return None if namespace.name == SYSTEM else int(getattr(settings, SETTINGS[name]))


def lock_within(namespace: UUID, **more: int) -> Namespace:
    """The living namespace, locked, when so much more stays within its ceilings. Raises NotFound or LimitReached."""
    row = Namespace.objects.select_for_update().filter(pk=namespace, state=State.CREATED).first()
    if row is None:
        raise NotFound("namespace not found: it was deleted")
    require_within(row, **more)
    return row


def require_within(namespace: Namespace, **more: int) -> None:
    """So much more stays within its ceilings. Raises LimitReached. Its row is locked, and as it is now."""
    for name, asked in more.items():
        limit = ceiling(namespace, name)
        if limit is not None:
            _refuse_above(namespace, name, limit, COUNTS[name](namespace.pk), asked)


def lock(namespace: UUID) -> None:
    """Before anything else of a request is locked that may place or grow what is there, as whoever places does."""
    Namespace.objects.select_for_update().get(pk=namespace)


def check_disk_growth(namespace: UUID, grown: int) -> None:
    """As `lock_within` for disk that is already counted in this transaction."""
    row = Namespace.objects.select_for_update().get(pk=namespace)
    limit = ceiling(row, "disk_gb")
    if limit is not None and grown > 0:
        _refuse_above(row, "disk_gb", limit, _disk_gb(row.pk) - grown, grown)


def check_waiting(more: Mapping[UUID, int]) -> None:
    """Refuse so many more operations of users where too many wait already. Far below the ceiling nothing is locked."""
    if not more:
        return
    waiting = "(SELECT COUNT(*) FROM operations WHERE namespace_id = namespaces.uuid AND state = 'waiting')"
    keys = [str(namespace) for namespace in more]
    for row in select(Namespace, "WHERE uuid IN %s ORDER BY uuid", [keys], also=(("waiting", waiting),)):
        limit, used = ceiling(row, "waiting_operations"), row.waiting  # type: ignore[attr-defined]
        if limit is not None and (limit <= AT_ONCE or used >= limit - AT_ONCE - more[row.pk]):
            lock_within(row.pk, waiting_operations=more[row.pk])


def _refuse_above(row: Namespace, name: str, limit: int, used: int, asked: int) -> None:
    if used + asked <= limit:
        return
    raise LimitReached(
        f"namespace {row.name} has {used} of at most {limit} {name}, {asked} more were asked for",
        stage=f"namespace_{name}",
        transient=name == "waiting_operations",
        details={"limit": limit, "used": used, "asked": asked},
    )


def limits_of(namespace: Namespace) -> dict[str, dict[str, Any]]:
    """Each ceiling, whether it is the namespace's own, and how much of it is used."""
    return {
        name: {
            "limit": ceiling(namespace, name),
            "used": count(namespace.pk),
            "is_default": name not in namespace.limits,
        }
        for name, count in COUNTS.items()
    }


def set_limits(caller: Caller, namespace: Namespace, limits: Mapping[str, int]) -> None:
    """The namespace's own ceilings from now on; those that are not named are the settings' again."""
    with transaction.atomic():
        row = Namespace.objects.select_for_update().get(pk=namespace.pk)
        row.limits = dict(limits)
        row.save(update_fields=["limits"])
        target = ("namespace", row.pk)
        events.record("audit", f"limits set by {caller}", [target], extra=row.limits, request_id=caller.request_id)
    namespace.limits = row.limits

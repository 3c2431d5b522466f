"""Rules of what may be asked of a guest's agent, and what such a request leaves behind."""

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db.models import DurationField, ExpressionWrapper, F

from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_own
from sfweb.domain.rows import insert
from sfweb.errors import Conflict, Invalid, NotReady
from sfweb.models import AgentOperation, Instance
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.instance import AGENT_READY
from sfweb.models.state import AgentOperationState, State, transition

DEFAULT_PATIENCE_SECONDS = 30


def require_agent(instance: Instance) -> None:
    """Raises NotReady until the instance is created, Invalid while nobody inside it answers (the public API's 400)."""
    if instance.state != State.CREATED:
        raise NotReady(f"instance {instance.name} is {instance.state}")
    if not instance.side_channels:
        raise Invalid(f"instance {instance.name} was created without a side channel", code="agent.none")
    if not instance.agent_state.startswith(AGENT_READY):
        raise Invalid(f"the agent of instance {instance.name} is {instance.agent_state}", code="agent.not_ready")


def deadline_seconds(wanted: Mapping[str, Any], *, bounded: bool) -> int | None:
    """Seconds until the deadline; None for none. `bounded`: a command never has all the time in the world (AG-6)."""
    seconds: int = wanted.get("deadline_seconds", settings.AGENT_OPERATION_DEFAULT_DEADLINE)
    if seconds > settings.AGENT_OPERATION_MAX_DEADLINE:
        raise Invalid(f"deadline_seconds: at most {settings.AGENT_OPERATION_MAX_DEADLINE}")
    if seconds:
        return seconds
    return settings.AGENT_OPERATION_MAX_DEADLINE if bounded else None


def patience_seconds(wanted: Mapping[str, Any]) -> int:
    """Seconds without progress after which a transfer is given up; the whole deadline where 0 was asked for."""
    return wanted.get("progress_timeout_seconds", DEFAULT_PATIENCE_SECONDS) or settings.AGENT_OPERATION_MAX_DEADLINE


def check_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Invalid("path: must be an absolute path")
    return path


def queue(instance: Instance, commands: list[dict[str, Any]], seconds: int | None, **columns: Any) -> AgentOperation:
    """Write what was asked; its time counts from now (AG-3)."""
    row = AgentOperation(
        instance=instance,
        namespace_id=instance.namespace_id,
        commands=commands,
        deadline=None if seconds is None else FromNow(seconds),
        **columns,
    )
    insert([row])
    return row


def seconds_left(agent_operation: uuid.UUID) -> float | None:
    """Until the deadline, by the database's clock; None without one."""
    left = ExpressionWrapper(F("deadline") - UtcNow(), output_field=DurationField())
    found: datetime.timedelta | None = (
        AgentOperation.objects.annotate(left=left).values_list("left", flat=True).get(pk=agent_operation)
    )
    return None if found is None else found.total_seconds()


def has_expired(agent_operation: uuid.UUID) -> bool:
    return AgentOperation.objects.filter(pk=agent_operation, deadline__lte=UtcNow()).exists()


def find(caller: Caller, ref: str) -> AgentOperation:
    return find_own(AgentOperation.objects.select_related("operation", "namespace"), "agent operation", caller, ref)


def complete(row: AgentOperation, results: Mapping[str, Any], **columns: Any) -> None:
    transition(row, AgentOperationState.COMPLETE, results=dict(results), finished_at=UtcNow(), **columns)


def fail(row: AgentOperation, code: str, message: str, **columns: Any) -> None:
    """The end without success: `expired` when its time was over, else `error` (AG-7)."""
    expired = code == "guest.deadline" or has_expired(row.pk)
    state = AgentOperationState.EXPIRED if expired else AgentOperationState.ERROR
    reason = f"{code}: {message}" if message else code
    transition(row, state, error_message=reason, finished_at=UtcNow(), **columns)


def forget(row: AgentOperation) -> None:
    """Raises Conflict while it is open: that is to be cancelled first."""
    if row.state == AgentOperationState.QUEUED:
        raise Conflict("the agent operation runs", code="agent.executing")
    if row.state != AgentOperationState.DELETED:
        transition(row, AgentOperationState.DELETED)

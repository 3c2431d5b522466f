"""What was asked of guests' agents: what waits beyond its deadline is ended (AG-4), what ended long ago is forgotten."""

from uuid import UUID

from django.conf import settings

from sftasks import attachment, engine
from sfweb.domain.callers import CLUSTER
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict
from sfweb.models import AgentOperation
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import AgentOperationState

PAGE = 200


def run() -> dict[str, int]:
    """Bounded to a page of each; the next pass sees the rest."""
    late = AgentOperation.objects.filter(
        state=AgentOperationState.QUEUED, deadline__lt=UtcNow(), operation__cancel_requested_at__isnull=True
    )
    operations = late.exclude(operation=None).order_by("deadline").values_list("operation_id", flat=True)
    ended = AgentOperation.objects.filter(finished_at__lt=FromNow(-settings.OPERATION_KEEP_SECONDS))
    old = ended.exclude(state=AgentOperationState.DELETED).order_by("finished_at").values_list("pk", flat=True)
    gone = AgentOperation.objects.filter(state=AgentOperationState.DELETED, operation=None)
    return {
        "expired": sum(_stop(pk) for pk in list(operations[:PAGE])),
        "forgotten": sum(durable(attachment.forget_agent_operation)(pk) for pk in list(old[:PAGE])),
        "deleted": AgentOperation.objects.filter(pk__in=list(gone.values_list("pk", flat=True)[:PAGE])).delete()[0],
    }


def _stop(operation: UUID) -> int:
    try:
        engine.cancel(operation, CLUSTER)
    except Conflict:  # it has just ended by itself
        return 0
    return 1

"""What users ask of the agent inside a guest: commands, files, and how that went."""

from collections.abc import Sequence
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks import attachment, engine
from sftasks.operations import guest_execute, guest_get, guest_put
from sfweb.api.base import ApiView, Flag, Input, Nothing, Number, Page, Text, seconds, started, takes
from sfweb.api.lists import listed
from sfweb.domain import agent_operations
from sfweb.domain.agent_operations import check_path, deadline_seconds, patience_seconds
from sfweb.domain.lookup import find_blob, find_instance
from sfweb.domain.specs import GuestFile
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import AgentOperation, Step
from sfweb.models.state import AgentOperationState, OperationState

MAX_COMMAND = 128 * 1024
MAX_MODE = 0o177777
OPEN = AgentOperationState.QUEUED


def with_attempts(rows: QuerySet[AgentOperation]) -> QuerySet[AgentOperation]:
    attempt = Step.objects.filter(operation=OuterRef("operation"), stage=0).values("attempt")[:1]
    return rows.select_related("namespace", "operation").annotate(attempts=Subquery(attempt))


def agent_operation_views(rows: Sequence[AgentOperation]) -> list[dict[str, Any]]:
    """As the client reads agent operations; rows come from `with_attempts`."""
    return [_view(row) for row in rows]


def _view(row: AgentOperation) -> dict[str, Any]:
    runs = row.operation is not None and row.operation.state == OperationState.RUNNING
    return {
        "uuid": str(row.uuid),
        "state": AgentOperationState.EXECUTING if row.state == OPEN and runs else row.state,
        "metadata": {},
        "version": 1,
        "namespace": row.namespace.name,
        "instance_uuid": str(row.instance_id),
        "commands": row.commands,
        "results": row.results,
        "error_message": row.error_message,
        "deadline": seconds(row.deadline),
        "progress_timeout": row.patience,
        "last_progress": seconds(row.operation.progressed_at) if row.operation else None,
        "attempts": row.attempts or 0,
        "created_at": seconds(row.created_at),
        "finished_at": seconds(row.finished_at),
    }


def shown(ref: Any) -> dict[str, Any]:
    return _view(with_attempts(AgentOperation.objects.all()).get(pk=ref))


class ExecuteInput(Input):
    command_line = Text(required=True, max_length=MAX_COMMAND)
    deadline_seconds = Number()


class FileInput(Input):
    path = Text(required=True)
    deadline_seconds = Number()
    progress_timeout_seconds = Number(max_value=3600)


class PutInput(FileInput):
    """`mode` is a whole st_mode, of which the permission bits count; null leaves them to the guest."""

    blob_uuid = Text(required=True, max_length=36)
    mode = Number(max_value=MAX_MODE)


def _file(wanted: dict[str, Any]) -> GuestFile:
    return GuestFile(
        path=check_path(wanted["path"]),
        seconds=deadline_seconds(wanted, bounded=False),
        patience=patience_seconds(wanted),
        mode=wanted.get("mode"),
    )


class AgentExecute(ApiView):
    @takes(ExecuteInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance, left = find_instance(self.caller, ref), deadline_seconds(wanted, bounded=True)
        made = guest_execute.request(self.caller, instance, wanted["command_line"], left)
        return started(request, made.operation, shown(made.row.uuid))


class AgentPut(ApiView):
    @takes(PutInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance, blob = find_instance(self.caller, ref), find_blob(self.caller, wanted["blob_uuid"])
        made = guest_put.request(self.caller, instance, blob, _file(wanted))
        return started(request, made.operation, shown(made.row.uuid))


class AgentGet(ApiView):
    @takes(FileInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        made = guest_get.request(self.caller, find_instance(self.caller, ref), _file(wanted))
        return started(request, made.operation, shown(made.row.uuid))


class ListInput(Page):
    """Without `all` only those that have not ended."""

    all = Flag()


class InstanceAgentOperations(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        rows = with_attempts(AgentOperation.objects.filter(instance=find_instance(self.caller, ref)))
        rows = rows.exclude(state=AgentOperationState.DELETED) if wanted.get("all") else rows.filter(state=OPEN)
        return listed(request, rows.order_by("created_at", "uuid"), wanted, agent_operation_views)


class AgentOperationDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(shown(agent_operations.find(self.caller, ref).uuid))

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """One that waits is taken out of the queue, one that runs is asked to stop, one that has ended is forgotten."""
        row = agent_operations.find(self.caller, ref)
        if row.state == AgentOperationState.DELETED:
            raise NotFound(f"agent operation not found: {ref}")
        if row.state == OPEN and row.operation is not None:
            engine.cancel(row.operation.pk, self.caller)
            row.refresh_from_db()
        if row.state != OPEN:
            durable(attachment.forget_agent_operation)(row.pk, self.caller)
        return Response(None)

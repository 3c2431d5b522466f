"""Operations: what was wished, how far it is, why it waits. Ours in full, and in the public client's words."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import UUIDField

from sftasks import engine, explain
from sfweb.api.base import (
    SHOWN_STATES,
    ApiView,
    Input,
    Nothing,
    Number,
    Text,
    address,
    operation_handle,
    operation_summary,
    seconds,
    takes,
)
from sfweb.api.lists import keyset_page
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import as_uuid, find_namespace, find_operation
from sfweb.errors import Invalid, NotFound
from sfweb.models import DependencyKind, Operation, OperationDependency, OperationTarget, Step
from sfweb.models.state import OperationState

DEFAULT_PAGE, MAX_PAGE = 100, 1000
TARGET_TYPES = (
    "instance",
    "network",
    "interface",
    "artifact",
    "blob",
    "node",
    "namespace",
    "upload",
    "agentoperation",
    "snapshot",
    "schedule",
)
MAX_CHAIN = 1000


def visible_operations(caller: Caller) -> QuerySet[Operation]:
    """The operations of the caller's namespace; all of them for `system`."""
    rows = Operation.objects.order_by("-created_at", "-uuid")
    return rows if caller.is_system else rows.filter(namespace_id=caller.namespace_uuid)


def operation_page(caller: Caller, wanted: dict[str, Any]) -> list[Operation]:
    """One page, newest first; `before` is the last operation of the page before it."""
    rows = visible_operations(caller)
    for name in ("state", "kind"):
        if name in wanted:
            rows = rows.filter(**{name: wanted[name]})
    if "state" in wanted and wanted["state"] not in set(OperationState):
        raise Invalid(f"state: must be one of {', '.join(OperationState)}")
    if "namespace" in wanted:
        rows = rows.filter(namespace=find_namespace(caller, wanted["namespace"]))
    if "target_type" in wanted or "target_uuid" in wanted:
        rows = rows.filter(**_target(wanted.get("target_type"), wanted.get("target_uuid"), "target_type"))
    return keyset(caller, rows, wanted)


def keyset(caller: Caller, rows: QuerySet[Operation], wanted: Mapping[str, Any]) -> list[Operation]:
    """A page of `rows`, newest first: after the operation `before`, if one is named. Each query is a range of an index."""
    limit = wanted.get("limit", DEFAULT_PAGE)
    if "before" not in wanted:
        return list(rows[:limit])
    last = find_operation(caller, str(wanted["before"]))
    keys = rows.values_list("pk", flat=True)
    same = list(keys.filter(created_at=last.created_at, uuid__lt=last.uuid)[:limit])
    order = same + list(keys.filter(created_at__lt=last.created_at)[: limit - len(same)])
    found = Operation.objects.in_bulk(order)
    return [found[key] for key in order if key in found]


def _target(kind: str | None, ref: str | None, parameter: str) -> dict[str, Any]:
    if kind not in TARGET_TYPES:
        raise Invalid(f"{parameter}: must be one of {', '.join(TARGET_TYPES)}")
    value = as_uuid(ref or "")
    if value is None:
        raise Invalid("target_uuid: must be a uuid")
    return {"targets__target_type": kind, "targets__target_uuid": value}


class OperationsInput(Input):
    """`before` is the uuid of an operation: the page that follows it, going back in time."""

    state = Text(max_length=12)
    kind = Text(max_length=40)
    namespace = Text(max_length=64)
    target_type = Text(max_length=16)
    target_uuid = Text(max_length=36)
    limit = Number(min_value=1, max_value=MAX_PAGE)
    before = UUIDField(required=False)


class Operations(ApiView):
    @takes(OperationsInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        found = operation_page(self.caller, wanted)
        views = [operation_summary(row) for row in found]
        return keyset_page(request, found, views, wanted, wanted.get("limit", DEFAULT_PAGE))


class OperationDetail(ApiView):
    """One operation with everything that is known of it; DELETE asks it to stop."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_operation(self.caller, ref)
        targets = OperationTarget.objects.filter(operation=row).values_list("target_type", "target_uuid")
        needs = OperationDependency.objects.filter(operation=row).values_list("needs_id", "kind")
        return Response(
            operation_summary(row)
            | {
                "stages": _stages(row),
                "targets": [{"type": kind, "uuid": str(target)} for kind, target in targets],
                "needs": [{"operation": str(other), "kind": kind} for other, kind in needs],
                "why": explain.why(row),
                "events": address(request, f"/operations/{row.uuid}/events"),
            }
        )

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return _cancel(self.caller, ref)


class OperationWhy(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(explain.why(find_operation(self.caller, ref)))


class OperationCancel(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return _cancel(self.caller, ref)


def _cancel(caller: Caller, ref: str) -> Response:
    row = engine.cancel(find_operation(caller, ref).uuid, caller)
    return Response(operation_summary(row), status=202)


def _stages(row: Operation) -> list[list[dict[str, Any]]]:
    stages: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for step in Step.objects.filter(operation=row).select_related("node").order_by("stage", "first_sent_at", "uuid"):
        stages[step.stage].append(
            {
                "uuid": str(step.uuid),
                "purpose": step.purpose,
                "action": step.action,
                "node": step.node.name,
                "object": f"{step.object_type}:{step.object_uuid}",
                "state": step.state,
                "attempt": step.attempt,
                "reason": step.reason,
                "sent_at": seconds(step.sent_at),
                "finished_at": seconds(step.finished_at),
                "outcome": {name: step.outcome.get(name, "") for name in ("kind", "code", "message", "change")}
                if step.outcome
                else None,
            }
        )
    return [stages[number] for number in sorted(stages)]


def cluster_views(rows: Sequence[Operation]) -> list[dict[str, Any]]:
    """The public client's view, by one query more for any number of operations."""
    tasks: dict[Any, list[str]] = defaultdict(list)
    steps = Step.objects.filter(operation__in=[row.uuid for row in rows], purpose="do").order_by("stage", "uuid")
    for operation, action in steps.values_list("operation_id", "action"):
        tasks[operation].append(action)
    return [
        {
            "operation_type": row.kind,
            "uuid": str(row.uuid),
            "state": SHOWN_STATES[OperationState(row.state)],
            "tasks": tasks[row.uuid],
            "error_report": row.error_message or None,
            **operation_handle(row),
        }
        for row in rows
    ]


def cluster_page(request: Request, caller: Caller, rows: QuerySet[Operation], wanted: Mapping[str, Any]) -> Response:
    found = keyset(caller, rows, wanted)
    return keyset_page(request, found, cluster_views(found), wanted, wanted.get("limit", DEFAULT_PAGE))


class ByTargetInput(Input):
    target_object_type = Text(max_length=16)
    target_uuid = Text(max_length=36)
    limit = Number(min_value=1, max_value=MAX_PAGE)
    before = UUIDField(required=False)


class ClusterOperations(ApiView):
    @takes(ByTargetInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        target = _target(wanted.get("target_object_type"), wanted.get("target_uuid"), "target_object_type")
        rows = visible_operations(self.caller).filter(**target)
        return cluster_page(request, self.caller, rows, wanted)


class ClusterOperationDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], op_type: str, ref: str) -> Response:
        return Response(cluster_views([self._found(op_type, ref)])[0])

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], op_type: str, ref: str) -> Response:
        """Asks it to stop, as its owner; what the clock made or others joined answers 409 (CO-16, EN-14)."""
        row = engine.cancel(self._found(op_type, ref).uuid, self.caller)
        return Response(cluster_views([row])[0], status=202)

    def _found(self, op_type: str, ref: str) -> Operation:
        row = find_operation(self.caller, ref)
        if row.kind != op_type:
            raise NotFound(f"operation not found: {op_type} {ref}")
        return row


class ClusterOperationChain(ApiView):
    """The operation and everything that it depends on, newest first; foreign ones are left out."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        found = {find_operation(self.caller, ref).uuid}
        edge = set(found)
        while edge and len(found) < MAX_CHAIN:
            needs = OperationDependency.objects.filter(operation__in=edge, kind=DependencyKind.DEPENDS_ON)
            edge = set(needs.values_list("needs_id", flat=True)) - found
            found |= edge
        own = Q() if self.caller.is_system else Q(namespace_id=self.own_uuid) | Q(namespace=None)
        rows = Operation.objects.filter(own, uuid__in=found).order_by("-created_at", "-uuid")
        return Response(cluster_views(list(rows)))

"""Recurring operations: snapshots of an instance, or commands in it, again and again. Ours: the client has no verb for it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks import ticks
from sfweb.api.agent_operations import MAX_COMMAND
from sfweb.api.artifacts import MOST_VERSIONS
from sfweb.api.base import ApiView, Flag, Input, Nothing, Number, Page, Text, accepted, seconds, takes
from sfweb.api.filters import ScheduleFilter
from sfweb.api.lists import Filtered, listed, living
from sfweb.api.scopes import require
from sfweb.domain import schedules
from sfweb.domain.lookup import find_instance
from sfweb.domain.names import check_label
from sfweb.domain.recurrence import LONGEST_SECONDS, MOST_TEXT, SHORTEST_SECONDS
from sfweb.models import Overlap, Schedule, ScheduleKind, Tick
from sfweb.models.state import State

SHOWN_TICKS = 5


class SnapshotArguments(Input):
    """As for a snapshot that is asked for once. `max_versions`: so many of its own are kept of each disk."""

    all = Flag()
    device = Text(max_length=16)
    max_versions = Number(min_value=1, max_value=MOST_VERSIONS)


class ExecuteArguments(Input):
    command_line = Text(required=True, max_length=MAX_COMMAND)
    deadline_seconds = Number()


ARGUMENTS: Mapping[str, type[Input]] = {
    ScheduleKind.SNAPSHOT: SnapshotArguments,
    ScheduleKind.EXECUTE: ExecuteArguments,
}
SCOPES = {ScheduleKind.SNAPSHOT: "instance.write", ScheduleKind.EXECUTE: "agentoperation.write"}
"""What a key needs beside the scope of the address: nobody gets by the clock what he may not do at once."""


class Arguments(serializers.JSONField):
    """An object; which members it may have depends on the kind."""

    def __init__(self) -> None:
        super().__init__(required=False)

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("an object is needed")
        return data


class Change(Input):
    """What is left out stays. Of `every_seconds` and `cron` one; `timezone` goes with `cron`, and is UTC without."""

    name = Text(min_length=1, max_length=63)
    every_seconds = Number(min_value=SHORTEST_SECONDS, max_value=LONGEST_SECONDS)
    cron = Text(max_length=MOST_TEXT)
    timezone = Text(max_length=MOST_TEXT)
    overlap = serializers.ChoiceField(choices=Overlap.choices, required=False)
    arguments = Arguments()


class NewInput(Change):
    """`instance` is a uuid, or a name, in `namespace` where that is given. Not `enabled`: it waits to be resumed."""

    name = Text(required=True, min_length=1, max_length=63)
    instance = Text(required=True, max_length=64)
    namespace = Text(max_length=64)
    kind = serializers.ChoiceField(choices=ScheduleKind.choices)
    enabled = Flag()


class ListInput(Filtered):
    """`instance` is a uuid, or the name of an instance that is there."""

    filters = ScheduleFilter
    instance = Text(max_length=64)


def checked(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a template of this kind; what is wrong with them is told as `arguments.NAME`."""
    serializer = ARGUMENTS[kind](data=given)
    if not serializer.is_valid():
        raise serializers.ValidationError({"arguments": serializer.errors})
    return dict(serializer.validated_data)


def schedule_views(rows: Sequence[Schedule]) -> list[dict[str, Any]]:
    """Rows come with namespace and instance selected; times are seconds since 1970."""
    return [
        {
            "uuid": str(row.uuid),
            "name": row.name,
            "namespace": row.namespace.name,
            "instance_uuid": str(row.instance_id),
            "instance_name": row.instance.name,
            "kind": row.kind,
            "arguments": row.arguments,
            "every_seconds": row.every_seconds,
            "cron": row.cron or None,
            "timezone": row.timezone,
            "overlap": row.overlap,
            "state": row.state,
            "enabled": row.state == State.CREATED,
            "paused_reason": row.paused_reason,
            "next_ticks": [seconds(moment) for moment in schedules.upcoming(row, SHOWN_TICKS)],
            "last_tick": seconds(row.last_tick),
            "last_state": row.last_state or None,
            "last_reason": row.last_reason or None,
            "consecutive_failures": row.consecutive_failures,
            "created_at": seconds(row.created_at),
        }
        for row in rows
    ]


def with_names(rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    return rows.select_related("namespace", "instance")


def shown(uuid: UUID) -> dict[str, Any]:
    return schedule_views([with_names(Schedule.objects.all()).get(pk=uuid)])[0]


def tick_views(rows: Sequence[Tick]) -> list[dict[str, Any]]:
    return [
        {
            "uuid": str(row.uuid),
            "due": seconds(row.due),
            "state": row.state,
            "reason": row.reason or None,
            "operation": str(row.operation_id) if row.operation_id else None,
            "created_at": seconds(row.created_at),
            "finished_at": seconds(row.finished_at),
        }
        for row in rows
    ]


def tick_shown(uuid: UUID) -> dict[str, Any]:
    return tick_views([Tick.objects.get(pk=uuid)])[0]


class Schedules(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = living(Schedule.objects.all(), wanted)
        if not self.caller.is_system:
            rows = rows.filter(namespace_id=self.own_uuid)
        if "instance" in wanted:
            rows = rows.filter(instance_id=find_instance(self.caller, wanted["instance"]).uuid)
        return listed(request, rows.order_by("created_at", "uuid"), wanted, schedule_views, ScheduleFilter, with_names)

    @takes(NewInput, creates=True)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        require(self.caller, SCOPES[wanted["kind"]])
        new = schedules.NewSchedule(
            name=check_label(wanted["name"]),
            instance=find_instance(self.caller, wanted["instance"], wanted.get("namespace")),
            kind=wanted["kind"],
            arguments=checked(wanted["kind"], wanted.get("arguments", {})),
            recurrence=schedules.recurrence_of(wanted),
            overlap=wanted.get("overlap", Overlap.SKIP),
            is_enabled=wanted.get("enabled", True),
        )
        return Response(shown(schedules.create(self.caller, new).pk))


class ScheduleDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(shown(schedules.find(self.caller, ref).pk))

    @takes(Change)
    def patch(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = schedules.find(self.caller, ref)
        require(self.caller, SCOPES[row.kind])
        if "name" in wanted:
            check_label(wanted["name"])
        if "arguments" in wanted:
            wanted["arguments"] = checked(row.kind, wanted["arguments"])
        schedules.change(self.caller, row, wanted)
        return Response(shown(row.pk))

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """What it made stays, and what it started goes on."""
        schedules.remove(self.caller, schedules.find(self.caller, ref))
        return Response(None)


class SchedulePause(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = schedules.find(self.caller, ref)
        schedules.pause(self.caller, row)
        return Response(shown(row.pk))


class ScheduleResume(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """It forgets its failures, and what was due meanwhile."""
        row = schedules.find(self.caller, ref)
        schedules.resume(self.caller, row)
        return Response(shown(row.pk))


class ScheduleTrigger(ApiView):
    """A tick now, beside those that are due by themselves. 409 where an earlier one still runs and this would be skipped."""

    @takes(Nothing, creates=True, shown=tick_shown, answered=accepted)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        made = ticks.trigger(self.caller, schedules.find(self.caller, ref))
        return accepted(request, made.operation, tick_shown(made.row.pk))


class ScheduleTicks(ApiView):
    """The newest first."""

    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        rows = Tick.objects.filter(schedule=schedules.find(self.caller, ref))
        return listed(request, rows.order_by("-due", "-uuid"), wanted, tick_views)

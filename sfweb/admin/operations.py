"""Operations, their steps, and events. Flower shows messages; these pages show the truth."""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sftasks import engine
from sfweb.admin.pages import ReadOnlyPage, for_each
from sfweb.domain import schedules
from sfweb.models import Schedule, ScheduleKind, Step


class StepInline(admin.TabularInline):
    model = Step
    fields = readonly_fields = (
        "stage",
        "purpose",
        "action",
        "node",
        "state",
        "attempt",
        "reason",
        "sent_at",
        "finished_at",
    )
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.is_staff)

    def get_queryset(self, request: HttpRequest):  # type: ignore[no-untyped-def]
        return super().get_queryset(request).select_related("node")


class OperationPage(ReadOnlyPage):
    list_display = ("kind", "object_key", "namespace", "state", "progress", "error_code", "requested_by", "created_at")
    list_filter = ("state", "kind", "observational")
    search_fields = ("uuid", "object_key", "request_id", "requested_by", "namespace__name")
    list_select_related = ("namespace",)
    ordering = ("-created_at",)
    inlines = (StepInline,)
    actions = ("cancel_operations",)

    @admin.action(description="Cancel the chosen operations", permissions=["act"])
    def cancel_operations(self, request: HttpRequest, rows: object) -> None:
        for_each(self, request, rows, lambda caller, row: engine.cancel(row.uuid, caller))


class StepPage(ReadOnlyPage):
    list_display = ("action", "node", "operation", "state", "attempt", "reason", "sent_at", "finished_at", "message")
    list_filter = ("state", "action", "bulk", "purpose")
    search_fields = ("uuid", "token", "object_uuid", "operation__uuid", "node__name")
    list_select_related = ("node", "operation")

    @admin.display(description="message")
    def message(self, row: Step) -> str | SafeString:
        """The step's message in flower; its task id is the step's token."""
        if not settings.FLOWER_URL or not row.token:
            return ""
        return format_html('<a href="{}/task/{}">flower</a>', settings.FLOWER_URL.rstrip("/"), row.token)


class SchedulePage(ReadOnlyPage):
    """What is run in guests is their owners' alone."""

    list_display = (
        "name",
        "namespace",
        "instance",
        "kind",
        "recurs",
        "keeps",
        "state",
        "next_tick",
        "last_tick",
        "last_state",
        "consecutive_failures",
    )
    list_filter = ("state", "kind", "last_state", "overlap")
    search_fields = ("uuid", "name", "namespace__name", "instance__name", "instance__uuid")
    list_select_related = ("namespace", "instance")
    ordering = ("next_tick",)
    secret_fields = ("arguments",)
    actions = ("pause_schedules", "resume_schedules")

    @admin.display(description="recurs")
    def recurs(self, row: Schedule) -> str:
        return f"{row.cron} {row.timezone}" if row.cron else f"every {row.every_seconds} s"

    @admin.display(description="keeps")
    def keeps(self, row: Schedule) -> str:
        """Snapshots of each disk that stay of its own."""
        return str(schedules.snapshots_kept(row)) if row.kind == ScheduleKind.SNAPSHOT else "-"

    @admin.action(description="Pause the chosen schedules", permissions=["act"])
    def pause_schedules(self, request: HttpRequest, rows: object) -> None:
        for_each(self, request, rows, schedules.pause)

    @admin.action(description="Resume the chosen schedules; what was due meanwhile is left out", permissions=["act"])
    def resume_schedules(self, request: HttpRequest, rows: object) -> None:
        for_each(self, request, rows, schedules.resume)


class TickPage(ReadOnlyPage):
    list_display = ("schedule", "due", "state", "reason", "operation", "created_at", "finished_at")
    list_filter = ("state",)
    search_fields = ("uuid", "schedule__name", "schedule__uuid", "operation__uuid")
    list_select_related = ("schedule", "operation")
    ordering = ("-created_at",)


class DependencyPage(ReadOnlyPage):
    list_display = ("operation", "kind", "needs", "wait_until")
    list_filter = ("kind",)
    search_fields = ("operation__uuid", "needs__uuid")
    list_select_related = ("operation", "needs")


class TargetPage(ReadOnlyPage):
    list_display = ("operation", "target_type", "target_uuid")
    list_filter = ("target_type",)
    search_fields = ("operation__uuid", "target_uuid")
    list_select_related = ("operation",)


class EventPage(ReadOnlyPage):
    list_display = ("at", "type", "node", "message", "request_id")
    list_filter = ("type",)
    search_fields = ("uuid", "request_id")
    ordering = ("-at",)


class EventObjectPage(ReadOnlyPage):
    list_display = ("at", "object_type", "object_uuid", "event_type", "event_uuid")
    list_filter = ("object_type", "event_type")
    search_fields = ("object_uuid", "event_uuid")
    ordering = ("-at",)

"""Nodes, pools, and the recurring duties of the cluster itself."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.validators import validate_email
from django.http import HttpRequest
from django_celery_beat.models import PeriodicTask

from sftasks.operations import node_drain
from sftasks.schedule import RECONCILERS, task_name
from sfweb.admin.pages import ReadOnlyPage, for_each
from sfweb.domain.image_urls import check_image_url
from sfweb.domain.nodes import cordon
from sfweb.errors import Invalid
from sfweb.models import ChannelKind, NoticeChannel
from sfweb.models.notice import NOTICE_KINDS


class NodePage(ReadOnlyPage):
    list_display = (
        "name",
        "state",
        "error_message",
        "cordoned",
        "carrier_eligible",
        "mesh_address",
        "last_seen",
        "clock_skew",
    )
    list_filter = ("state", "cordoned", "carrier_eligible")
    search_fields = ("name", "uuid", "mesh_address")
    ordering = ("name",)
    actions = ("cordon_nodes", "uncordon_nodes", "drain_nodes")

    @admin.action(description="Cordon: place nothing new on them", permissions=["act"])
    def cordon_nodes(self, request: HttpRequest, rows: Any) -> None:
        for_each(self, request, rows, lambda caller, row: cordon(caller, row, True))

    @admin.action(description="Uncordon: place on them again", permissions=["act"])
    def uncordon_nodes(self, request: HttpRequest, rows: Any) -> None:
        for_each(self, request, rows, lambda caller, row: cordon(caller, row, False))

    @admin.action(description="Drain: cordon, and move away what is there while it runs", permissions=["act"])
    def drain_nodes(self, request: HttpRequest, rows: Any) -> None:
        for_each(self, request, rows, node_drain.request)


class ClusterCapacityPage(ReadOnlyPage):
    list_display = ("id", "claimed_cpus", "claimed_memory_mb", "claimed_disk_gb", "updated_at")
    search_fields = ("id",)


class CapacityPage(ReadOnlyPage):
    list_display = (
        "node",
        "used_cpus",
        "limit_cpus",
        "used_memory_mb",
        "limit_memory_mb",
        "used_disk_gb",
        "limit_disk_gb",
    )
    search_fields = ("node__name",)
    list_select_related = ("node",)


class NodeObjectPage(ReadOnlyPage):
    list_display = ("node", "object_type", "object_uuid", "wanted", "applied_generation", "error", "confirmed_at")
    list_filter = ("object_type", "wanted")
    search_fields = ("object_uuid", "node__name")
    list_select_related = ("node",)


class AllocationPage(ReadOnlyPage):
    list_display = ("pool_name", "value", "owner_type", "owner_uuid", "allocated_at", "expires_at")
    list_filter = ("owner_type",)
    search_fields = ("pool_name", "value", "owner_uuid")


class DutyPage(ReadOnlyPage):
    list_display = ("name", "next_run_at", "running_until", "last_run_at", "last_seconds", "failures", "last_error")
    search_fields = ("name",)
    ordering = ("name",)


class BootstrapPage(ReadOnlyPage):
    list_display = ("name", "completed_at", "actor")
    search_fields = ("name",)


class SchemaPage(ReadOnlyPage):
    list_display = ("version", "compatible_since")


class NoticeChannelForm(forms.ModelForm):
    class Meta:
        model = NoticeChannel
        fields = ("name", "kind", "address", "kinds", "pause", "secret", "enabled")
        widgets: ClassVar[Any] = {"secret": forms.PasswordInput(render_value=False)}

    def clean_kinds(self) -> str:
        kinds = [word.strip() for word in self.cleaned_data["kinds"].split(",") if word.strip()]
        unknown = sorted(set(kinds) - set(NOTICE_KINDS))
        if unknown:
            raise forms.ValidationError(f"{unknown[0]} is none of {', '.join(NOTICE_KINDS)}")
        return ",".join(kinds)

    def clean_secret(self) -> str:
        """Left empty, it stays what it was."""
        return self.cleaned_data["secret"] or self.instance.secret

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        address = found.get("address", "")
        if found.get("kind") == ChannelKind.WEBHOOK:
            try:
                check_image_url(address, settings.NOTICE_ALLOW, "address")
            except Invalid as error:
                self.add_error("address", str(error))
        elif found.get("kind") == ChannelKind.EMAIL:
            for word in address.split(","):
                try:
                    validate_email(word.strip())
                except forms.ValidationError as error:
                    self.add_error("address", error)
        return found


class NoticeChannelPage(admin.ModelAdmin):
    form = NoticeChannelForm
    list_display = ("name", "kind", "kinds", "pause", "enabled", "sent_at")
    list_filter = ("kind", "enabled")
    search_fields = ("name",)


class NoticePage(ReadOnlyPage):
    list_display = ("created_at", "kind", "subject", "sentence")
    list_filter = ("kind",)
    search_fields = ("subject", "sentence")
    ordering = ("-created_at",)


class DeliveryPage(ReadOnlyPage):
    list_display = ("notice", "channel", "state", "attempts", "not_before", "problem")
    list_filter = ("state", "channel")
    list_select_related = ("notice", "channel")


class PeriodicTaskForm(forms.ModelForm):
    """Only our own reconcilers, only on an interval: a row of this table could otherwise run any task (SE-17)."""

    task = forms.ChoiceField(choices=[(task_name(name), name) for name in sorted(RECONCILERS)])

    class Meta:
        model = PeriodicTask
        fields = ("name", "task", "interval", "enabled", "description")


class PeriodicTaskPage(admin.ModelAdmin):
    form = PeriodicTaskForm
    list_display = ("name", "task", "interval", "enabled", "last_run_at", "total_run_count")
    list_filter = ("enabled",)
    search_fields = ("name", "task")
    list_select_related = ("interval",)
    ordering = ("name",)


class IntervalPage(admin.ModelAdmin):
    list_display = ("every", "period")
    list_filter = ("period",)

"""What users want again and again, and each time that it was due."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.instance import Instance
from sfweb.models.namespace import Namespace
from sfweb.models.operation import Operation
from sfweb.models.state import State, TickState


class ScheduleKind(models.TextChoices):
    SNAPSHOT = "snapshot"
    EXECUTE = "execute"


class Overlap(models.TextChoices):
    """What happens to a tick while the operation of an earlier one still runs (RO-7)."""

    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class Schedule(models.Model):
    """A recurring operation on one instance (RO-1); the public word is `recurring_operation`.

    every_seconds, cron  one of them: null, or empty
    arguments            as the request for one such operation would say them
    next_tick            the due time that is next, always a point of the grid; only who changes it has that tick (RO-5)
    not_before           no tick earlier than this: the rest after a failure (RO-8)
    paused_reason        why it is paused, or in error
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="schedules")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="schedules")
    name = NameField()
    state = models.CharField(max_length=16, default=State.CREATED)
    kind = models.CharField(max_length=16, choices=ScheduleKind.choices)
    arguments = models.JSONField(default=dict)
    every_seconds = models.PositiveIntegerField(null=True)
    cron = models.CharField(max_length=128, default="")
    timezone = models.CharField(max_length=128, default="UTC")
    overlap = models.CharField(max_length=8, choices=Overlap.choices, default=Overlap.SKIP)
    paused_reason = models.TextField(null=True)
    next_tick = models.DateTimeField()
    not_before = models.DateTimeField(null=True)
    last_tick = models.DateTimeField(null=True)
    last_state = models.CharField(max_length=12, default="")
    last_reason = models.TextField(default="")
    consecutive_failures = models.PositiveIntegerField(default=0)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "recurring_operations"
        indexes = [
            models.Index(fields=["state", "next_tick"]),
            models.Index(fields=["namespace", "created_at"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return self.name


class Tick(models.Model):
    """One time that a schedule was due, or was triggered. The database refuses a second one for the same moment (RO-5).

    reason  why it was skipped, or how it failed
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="ticks")
    due = models.DateTimeField()
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="ticks")
    state = models.CharField(max_length=12, default=TickState.STARTED)
    reason = models.TextField(default="")
    created_at = CreatedField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "recurring_operation_ticks"
        constraints = [models.UniqueConstraint(fields=["schedule", "due"], name="tick_once")]
        indexes = [models.Index(fields=["state", "created_at"]), models.Index(fields=["created_at"])]

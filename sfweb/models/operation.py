"""What a user or the clock wants, and the steps that nodes take for it. Only `sftasks/engine.py` writes these rows."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.namespace import Namespace
from sfweb.models.node import Node
from sfweb.models.state import OperationState, StepState

OF_THE_CLUSTER = uuid.UUID(int=0)
"""The lane of steps whose operation belongs to no namespace."""


class Operation(models.Model):
    """A wish with a life of its own (EN-5 to EN-7).

    object_key    type:uuid of the one object whose rows it writes, or type:uuid@node
    queued_key    set while it waits, for kinds of which one waiting is enough; unique
    running_key   object_key while it runs or unwinds, null for observational kinds; unique
    not_before    it is put off till then, so that more can join it (EN-20)

    Not columns, but what the transaction that submits knows: `is_ours`, it has inserted or joined the row and so holds
    its lock; `needed`, all that it waits for; `is_held`, it waits for one that is ours and so cannot start before the
    commit.
    """

    is_ours = False
    is_held = False
    needed: "set[uuid.UUID] | None" = None

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = NameField(max_length=40)
    namespace = models.ForeignKey(Namespace, null=True, on_delete=models.PROTECT, related_name="operations")
    object_key = NameField(max_length=120)
    state = models.CharField(max_length=12, default=OperationState.WAITING)
    stage = models.PositiveSmallIntegerField(default=0)
    queued_key = NameField(max_length=160, null=True, unique=True)
    running_key = NameField(max_length=120, null=True, unique=True)
    params = models.JSONField(default=dict)
    progress = models.PositiveSmallIntegerField(default=0)
    progressed_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=64, default="")
    error_message = models.TextField(default="")
    requested_by = models.CharField(max_length=128, default="")
    request_id = models.CharField(max_length=64, default="")
    trace_id = models.CharField(max_length=64, default="")
    not_before = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    created_at = CreatedField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    priority = models.SmallIntegerField(default=20)
    joined = models.PositiveIntegerField(default=0)
    retry_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="retries")
    observational = models.BooleanField(default=False)

    class Meta:
        db_table = "operations"
        indexes = [
            models.Index(fields=["object_key", "state"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["state", "not_before"]),
            models.Index(fields=["namespace", "created_at"]),
            models.Index(fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.uuid}"


class OperationTarget(models.Model):
    """An object that the operation is about; the database refuses to name one twice (CO-3)."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="targets")
    target_type = models.CharField(max_length=16)
    target_uuid = models.UUIDField()

    class Meta:
        db_table = "operation_targets"
        constraints = [models.UniqueConstraint(fields=["operation", "target_type", "target_uuid"], name="target_once")]
        indexes = [models.Index(fields=["target_type", "target_uuid"])]


class DependencyKind(models.TextChoices):
    DEPENDS_ON = "depends_on"
    RUNS_AFTER = "runs_after"


class OperationDependency(models.Model):
    """`operation` waits for `needs`: sharing its fate (depends_on) or only its end (runs_after)."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="dependencies")
    needs = models.ForeignKey(Operation, on_delete=models.PROTECT, related_name="dependents")
    kind = models.CharField(max_length=12, choices=DependencyKind.choices, default=DependencyKind.DEPENDS_ON)
    wait_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "operation_dependencies"
        verbose_name_plural = "operation dependencies"
        constraints = [models.UniqueConstraint(fields=["operation", "needs"], name="dependency_once")]


class Step(models.Model):
    """One action on one node. `token` proves the hand-out of this attempt; `request` is what was sent, byte for byte.

    purpose  do, or undo for a step that takes a wish back; counted_unknown, stale_count: EN-9, EN-2
    lane     the operation's namespace, or OF_THE_CLUSTER; with its `priority` and its `asked_at` a copy that never changes,
             so that one index finds what is next of each lane (EN-10)
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    stage = models.PositiveSmallIntegerField()
    purpose = models.CharField(max_length=4, default="do")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="steps")
    action = NameField(max_length=40)
    object_type = models.CharField(max_length=16)
    object_uuid = models.UUIDField()
    arguments = models.JSONField(default=dict)
    bulk = models.BooleanField(default=False)
    lane = models.UUIDField(default=OF_THE_CLUSTER, db_default=str(OF_THE_CLUSTER))
    priority = models.SmallIntegerField(default=20, db_default=20)
    asked_at = CreatedField()
    state = models.CharField(max_length=10, default=StepState.PLANNED)
    request = models.JSONField(null=True)
    token = NameField(max_length=36, null=True, unique=True)
    generation = models.PositiveBigIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    unknowns = models.PositiveIntegerField(default=0)
    stales = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=255, default="")
    not_before = models.DateTimeField(null=True)
    deadline = models.DateTimeField(null=True)
    first_sent_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    outcome = models.JSONField(null=True)

    class Meta:
        db_table = "steps"
        indexes = [
            models.Index(fields=["operation", "stage"]),
            models.Index(fields=["node", "state", "bulk", "lane", "priority", "asked_at"]),
            models.Index(fields=["object_type", "object_uuid"]),
        ]

"""What an operator is told of without looking, and where it is sent."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.state import DeliveryState

NOTICE_KINDS = ("operation.failed", "schedule.paused", "node.missing", "pool.low")


class ChannelKind(models.TextChoices):
    WEBHOOK = "webhook", "Webhook"
    EMAIL = "email", "E-mail"


class NoticeChannel(models.Model):
    """Where notices go.

    address  a URL, or e-mail addresses by comma
    kinds    kinds of notices by comma, without blanks; empty for all
    pause    seconds between two messages at least; what comes between them is sent together
    secret   signs what a webhook is sent; never shown
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = NameField(unique=True)
    kind = models.CharField(max_length=8, choices=ChannelKind.choices)
    address = models.CharField(max_length=1000)
    kinds = models.CharField(max_length=255, default="", blank=True)
    pause = models.PositiveIntegerField(default=60)
    secret = models.CharField(max_length=255, default="", blank=True)
    enabled = models.BooleanField(default=True)
    sent_at = models.DateTimeField(null=True, editable=False)
    created_at = CreatedField(editable=False)

    class Meta:
        db_table = "notice_channels"

    def __str__(self) -> str:
        return self.name


class Notice(models.Model):
    """One thing that broke, in one sentence; `details` is the same as data."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=120)
    sentence = models.TextField()
    details = models.JSONField(default=dict)
    created_at = CreatedField()

    class Meta:
        db_table = "notices"
        indexes = [models.Index(fields=["created_at"]), models.Index(fields=["kind", "subject", "created_at"])]


class Delivery(models.Model):
    """A notice on its way to a channel. `problem` says what went wrong at the last attempt."""

    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(NoticeChannel, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=8, default=DeliveryState.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    problem = models.CharField(max_length=255, default="")

    class Meta:
        db_table = "notice_deliveries"
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["notice", "channel"], name="notice_once_a_channel")]
        indexes = [models.Index(fields=["channel", "state"])]

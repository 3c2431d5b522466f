"""The disks of one instance at one moment, kept as versions of its snapshot artifacts."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.namespace import Namespace
from sfweb.models.state import State


class SnapshotSet(models.Model):
    """What one request captured: its artifact versions have one state and go together (AR-14).

    The set outlives its instance and its schedule, so these are named and not referred to.

    schedule_uuid  the schedule whose tick made it: that one's number of snapshots is kept of its own
    quiesced       the guest was off, or its file systems stood still; null until that is known
    reason         who wanted it: a user, a schedule, or a revert that kept what was
    settings       what a request for an instance like it would say
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="snapshot_sets")
    instance_uuid = models.UUIDField()
    instance_name = NameField()
    state = models.CharField(max_length=16, default=State.INITIAL)
    error_message = models.TextField(null=True)
    quiesced = models.BooleanField(null=True)
    settings = models.JSONField(default=dict)
    reason = models.CharField(max_length=16, default="request")
    schedule_uuid = models.UUIDField(null=True)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "snapshot_sets"
        indexes = [
            models.Index(fields=["instance_uuid", "created_at"]),
            models.Index(fields=["schedule_uuid", "created_at"]),
            models.Index(fields=["namespace", "state", "created_at"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["namespace", "created_at"]),
            models.Index(fields=["created_at"]),
        ]

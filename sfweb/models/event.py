"""What happened, to which objects. No foreign keys: events outlive what they tell of."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField

EVENT_TYPES = ("audit", "mutate", "health", "status", "usage", "resources", "prune", "historic")


class Event(models.Model):
    """One thing that happened. `node` names the host or process that noticed."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=16)
    at = CreatedField()
    node = models.CharField(max_length=255, default="")
    duration = models.FloatField(null=True)
    message = models.TextField()
    extra = models.JSONField(null=True)
    request_id = models.CharField(max_length=64, default="")
    trace_id = models.CharField(max_length=64, default="")

    class Meta:
        db_table = "events"
        indexes = [models.Index(fields=["type", "at"]), models.Index(fields=["request_id"])]


class EventObject(models.Model):
    """An object that an event is about; type and moment stand here again so that a page of events is one index range."""

    object_type = models.CharField(max_length=16)
    object_uuid = models.UUIDField()
    event_uuid = models.UUIDField()
    event_type = models.CharField(max_length=16)
    at = CreatedField()

    class Meta:
        db_table = "event_objects"
        constraints = [
            models.UniqueConstraint(fields=["object_type", "object_uuid", "event_uuid"], name="event_object_once")
        ]
        indexes = [
            models.Index(fields=["object_type", "object_uuid", "at"]),
            models.Index(fields=["object_type", "object_uuid", "event_type", "at"], name="event_objects_by_type"),
            models.Index(fields=["event_uuid"]),
        ]

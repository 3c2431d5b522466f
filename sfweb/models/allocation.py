"""Values taken from pools, answers given to idempotent requests, free-form metadata."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.namespace import Namespace


class PoolAllocation(models.Model):
    """One value of one pool and who has it; `expires_at` null: until released. A resting value has no owner (GA-1)."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pool_name = NameField(max_length=80)
    value = models.PositiveBigIntegerField()
    owner_type = models.CharField(max_length=16, default="")
    owner_uuid = models.UUIDField(null=True)
    allocated_at = CreatedField()
    expires_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "resource_pool_allocations"
        constraints = [models.UniqueConstraint(fields=["pool_name", "value"], name="pool_value_once")]
        indexes = [models.Index(fields=["expires_at"]), models.Index(fields=["owner_type", "owner_uuid"])]


class IdempotencyKey(models.Model):
    """The answer that a POST with this key got, given again to a repeat; a different body is refused."""

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE)
    key = NameField(max_length=128)
    path = models.CharField(max_length=255)
    body_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    created_at = CreatedField()

    class Meta:
        db_table = "idempotency_keys"
        constraints = [models.UniqueConstraint(fields=["namespace", "key"], name="idempotency_once")]


class Metadata(models.Model):
    """One key and value that a user hung on an object."""

    object_type = models.CharField(max_length=16)
    object_uuid = models.UUIDField()
    key = NameField(max_length=255)
    value = models.JSONField()

    class Meta:
        db_table = "metadata"
        verbose_name_plural = "metadata"
        constraints = [models.UniqueConstraint(fields=["object_type", "object_uuid", "key"], name="metadata_key_once")]

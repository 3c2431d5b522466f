"""Quota claims: a namespace's ceiling and guarantee over the whole cluster (CL-*)."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField
from sfweb.models.namespace import Namespace
from sfweb.models.state import State


class NamespaceClaim(models.Model):
    """Room that is kept for one namespace, and the most that it may take, until `expires_at`. Memory MiB, disk GiB.

    holds  the namespace while the claim has not been deleted: each has one at most
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="claims")
    holds = models.OneToOneField(Namespace, null=True, on_delete=models.CASCADE, related_name="claim")
    state = models.CharField(max_length=16, default=State.CREATED)
    limit_cpus = models.PositiveIntegerField()
    limit_memory_mb = models.PositiveIntegerField()
    limit_disk_gb = models.PositiveIntegerField()
    used_cpus = models.PositiveIntegerField(default=0)
    used_memory_mb = models.PositiveIntegerField(default=0)
    used_disk_gb = models.PositiveIntegerField(default=0)
    created_at = CreatedField()
    expires_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "namespace_claims"
        indexes = [models.Index(fields=["state", "expires_at"]), models.Index(fields=["created_at"])]


class ClusterCapacity(models.Model):
    """One row. Whoever competes for what is not claimed holds its lock; the figures are as of the last change of a claim."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    claimed_cpus = models.PositiveIntegerField(default=0)
    claimed_memory_mb = models.PositiveIntegerField(default=0)
    claimed_disk_gb = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "cluster_capacity"
        verbose_name_plural = "cluster capacity"

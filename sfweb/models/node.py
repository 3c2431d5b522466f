"""Hypervisor hosts: who they are, what they offer, what they should hold."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, FreeShare, NameField
from sfweb.models.state import State


class Node(models.Model):
    """A host that runs the agent. `facts` and `clock_skew` are its claims; `state`, `cordoned`, `carrier_eligible` are ours.

    error_message    why nothing is placed on it, until an operator clears that (NH-1); it outlives an absence
    report_interval  seconds, what the last answer asked for
    inventory        what the node last said that it holds; inventory_wanted: it is asked to look again
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = NameField(unique=True)
    state = models.CharField(max_length=16, default=State.INITIAL)
    error_message = models.TextField(null=True)
    mesh_address = models.GenericIPAddressField(protocol="IPv4", null=True)
    byte_port = models.PositiveIntegerField(default=13004)
    cordoned = models.BooleanField(default=False)
    carrier_eligible = models.BooleanField(default=True)
    last_seen = models.DateTimeField(null=True)
    report_interval = models.FloatField(default=30)
    clock_skew = models.FloatField(default=0)
    actions = models.JSONField(default=dict)
    facts = models.JSONField(default=dict)
    inventory = models.JSONField(null=True)
    inventory_at = models.DateTimeField(null=True)
    inventory_wanted = models.BooleanField(default=False)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "nodes"
        indexes = [models.Index(fields=["state", "last_seen"])]

    def __str__(self) -> str:
        return self.name


class NodeCredential(models.Model):
    """How a node proves who it is, and which memory (incarnation) of it is accepted (EN-2, EN-12).

    enrolment_digest    sha256 of the one-time secret that `enrol_node` printed; null once exchanged
    secret_digest       sha256 of the agent's own secret
    incarnation         the accepted journal; seen_incarnation: the one that it last reported
    """

    node = models.OneToOneField(Node, primary_key=True, on_delete=models.CASCADE, related_name="credential")
    enrolment_digest = NameField(null=True)
    secret_digest = NameField(null=True)
    signing_key = NameField()
    incarnation = NameField(null=True)
    seen_incarnation = NameField(null=True)
    issued_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "node_credentials"


class NodeCapacity(models.Model):
    """What may be placed on a node, and what is. Only `domain/capacity.py` writes `used_*`. Memory MiB, disk GiB.

    ceiling_*   the most that a report may raise a limit to; set by the operator or by the first report (SE-6)
    free_share  of what is scarcest, 1 when nothing is taken; the database computes it
    """

    node = models.OneToOneField(Node, primary_key=True, on_delete=models.CASCADE, related_name="capacity")
    limit_cpus = models.PositiveIntegerField(default=0)
    limit_memory_mb = models.PositiveIntegerField(default=0)
    limit_disk_gb = models.PositiveIntegerField(default=0)
    used_cpus = models.PositiveIntegerField(default=0)
    used_memory_mb = models.PositiveIntegerField(default=0)
    used_disk_gb = models.PositiveIntegerField(default=0)
    ceiling_cpus = models.PositiveIntegerField(null=True)
    ceiling_memory_mb = models.PositiveIntegerField(null=True)
    ceiling_disk_gb = models.PositiveIntegerField(null=True)
    largest_cpus = models.PositiveIntegerField(default=0)
    free_share = models.GeneratedField(expression=FreeShare(), output_field=models.FloatField(), db_persist=True)
    updated_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "node_capacity"
        verbose_name_plural = "node capacity"
        indexes = [models.Index(fields=["free_share"], name="freest_node")]


class Wanted(models.TextChoices):
    PRESENT = "present"
    ABSENT = "absent"


class NodeObject(models.Model):
    """What one node should hold of one object, and the generation that it confirmed (EN-1).

    generation  only where the object's own row has none (blobs); applied_generation 0: the node confirmed nothing
    """

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="wishes")
    object_type = models.CharField(max_length=16)
    object_uuid = models.UUIDField()
    wanted = models.CharField(max_length=8, choices=Wanted.choices, default=Wanted.PRESENT)
    generation = models.PositiveBigIntegerField(null=True)
    applied_generation = models.PositiveBigIntegerField(default=0)
    applied_wanted = models.CharField(max_length=8, choices=Wanted.choices, null=True)
    seq = models.PositiveBigIntegerField(default=0)
    absences = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=255, null=True)
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "node_objects"
        constraints = [models.UniqueConstraint(fields=["node", "object_type", "object_uuid"], name="node_object_once")]
        indexes = [models.Index(fields=["object_type", "object_uuid"])]

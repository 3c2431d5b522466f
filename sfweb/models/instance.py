"""Users' machines, their disks, and the room that they take."""

import uuid

from django.db import models

from sfweb.models.blob import Blob
from sfweb.models.fields import CreatedField, NameField
from sfweb.models.namespace import Namespace
from sfweb.models.node import Node
from sfweb.models.state import ReservationState, State

AGENT_SILENT, AGENT_READY = "not ready (no contact)", "ready"
"""What is known of the agent inside a guest, as the public client reads it."""


class Instance(models.Model):
    """A user's machine. `power` is the wish, `observed_power` what the node last said. `generation` as in EN-1.

    nvram_blob        what `nvram_template` was resolved to: the first content of the firmware's variables
    power_generation  the generation with which the owner's newest power wish was written
    user_data  base64 text as given; ssh_key: one public key; both secret (SE-3)
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="instances")
    name = NameField()
    state = models.CharField(max_length=16, default=State.INITIAL)
    error_message = models.TextField(null=True)
    node = models.ForeignKey(Node, null=True, on_delete=models.PROTECT, related_name="instances")
    requested_placement = NameField(null=True)
    cpus = models.PositiveIntegerField()
    memory_mb = models.PositiveIntegerField()
    power = models.CharField(max_length=8, default="on")
    observed_power = models.CharField(max_length=8, default="initial")
    power_observed_at = models.DateTimeField(null=True)
    generation = models.PositiveBigIntegerField(default=1)
    power_generation = models.PositiveBigIntegerField(default=1)
    ssh_key = models.TextField(null=True)
    user_data = models.TextField(null=True)
    config_drive = models.BooleanField(default=True)
    video = models.JSONField(default=dict)
    uefi = models.BooleanField(default=False)
    secure_boot = models.BooleanField(default=False)
    nvram_template = NameField(null=True, max_length=255)
    nvram_blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="nvram_of")
    machine_type = models.CharField(max_length=16, default="pc")
    side_channels = models.JSONField(default=list)
    console_port = models.PositiveIntegerField(null=True)
    vdi_port = models.PositiveIntegerField(null=True)
    vsock_cid = models.PositiveBigIntegerField(null=True)
    agent_state = models.CharField(max_length=64, default=AGENT_SILENT)
    agent_started_at = models.DateTimeField(null=True)
    agent_system_booted_at = models.DateTimeField(null=True)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "instances"
        indexes = [
            models.Index(fields=["namespace", "state", "name"]),
            models.Index(fields=["node", "state"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["namespace", "created_at"]),
            models.Index(fields=["created_at"]),
            models.Index(fields=["name"]),
        ]

    def __str__(self) -> str:
        return self.name


class Disk(models.Model):
    """One disk. `base` is what the user asked for, `blob` what that was resolved to; `size_gb` 0 keeps the blob's size.

    revision  how often its content was replaced by that of a snapshot
    state     initial until a running guest has it, delete-wait until it has let go of it; then the row goes
    room_gb   what it counts on its node
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="disks")
    position = models.PositiveSmallIntegerField()
    device = models.CharField(max_length=16)
    bus = models.CharField(max_length=8)
    kind = models.CharField(max_length=8)
    size_gb = models.PositiveIntegerField(default=0)
    room_gb = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=16, default=State.CREATED)
    base = models.CharField(max_length=1024, null=True)
    blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="disks")
    revision = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "disks"
        constraints = [models.UniqueConstraint(fields=["instance", "device"], name="disk_device_once")]


class PlacementReservation(models.Model):
    """The room that one instance takes on one node: claimed by a request, consumed when the guest is there (SC-32).

    While an instance moves, and until the former node has confirmed that nothing of it is left there, it has two.

    expires_at  of a claim: when it lapses unless an operation still stands for it
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(Instance, on_delete=models.PROTECT, related_name="reservations")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="reservations")
    cpus = models.PositiveIntegerField()
    memory_mb = models.PositiveIntegerField()
    disk_gb = models.PositiveIntegerField()
    state = models.CharField(max_length=16, default=ReservationState.CLAIMED)
    created_at = CreatedField()
    expires_at = models.DateTimeField(null=True)
    released_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "placement_reservations"
        constraints = [models.UniqueConstraint(fields=["instance", "node"], name="reservation_once_a_node")]
        indexes = [
            models.Index(fields=["node", "state"]),
            models.Index(fields=["state", "expires_at"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["created_at"]),
        ]

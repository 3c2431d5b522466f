"""Named, versioned things made of blobs: images, labels, snapshots."""

import uuid

from django.db import models

from sfweb.models.blob import Blob
from sfweb.models.fields import CreatedField, NameField
from sfweb.models.namespace import Namespace
from sfweb.models.snapshot import SnapshotSet
from sfweb.models.state import State

KEPT_VERSIONS = 3
"""Of an artifact, and of what one schedule makes of a disk, unless somebody says otherwise."""


class ArtifactKind(models.TextChoices):
    IMAGE = "image"
    LABEL = "label"
    SNAPSHOT = "snapshot"
    OTHER = "other"


class Artifact(models.Model):
    """A named thing with versions. `active_key` is kind, namespace and source while it lives, so each exists once.

    max_versions  so many are kept of those that no schedule made
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="artifacts")
    kind = models.CharField(max_length=16, choices=ArtifactKind.choices, default=ArtifactKind.IMAGE)
    name = NameField(max_length=255)
    source_url = NameField(max_length=1024)
    state = models.CharField(max_length=16, default=State.INITIAL)
    error_message = models.TextField(null=True)
    max_versions = models.PositiveIntegerField(default=KEPT_VERSIONS)
    shared = models.BooleanField(default=False)
    active_key = NameField(max_length=64, null=True, unique=True)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "artifacts"
        indexes = [
            models.Index(fields=["namespace", "state", "name"]),
            models.Index(fields=["shared", "state"]),
            models.Index(fields=["created_at"]),
            models.Index(fields=["name"]),
        ]

    def __str__(self) -> str:
        return self.name


class ArtifactVersion(models.Model):
    """Version `index` (from 1) of an artifact; of a snapshot also the set that it is of, and the disk that it was."""

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="versions")
    index = models.PositiveIntegerField()
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="versions")
    snapshot_set = models.ForeignKey(SnapshotSet, null=True, on_delete=models.PROTECT, related_name="versions")
    device = models.CharField(max_length=16, default="")
    created_at = CreatedField()

    class Meta:
        db_table = "artifact_versions"
        constraints = [models.UniqueConstraint(fields=["artifact", "index"], name="artifact_version_once")]


class Permission(models.TextChoices):
    READ = "read"


class ArtifactGrant(models.Model):
    """`namespace` may see the artifact and what it is made of, until the row goes (AR-13)."""

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="grants")
    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="grants")
    permission = models.CharField(max_length=8, choices=Permission.choices, default=Permission.READ)
    created_at = CreatedField()

    class Meta:
        db_table = "artifact_grants"
        constraints = [models.UniqueConstraint(fields=["artifact", "namespace"], name="artifact_grant_once")]

"""Immutable bytes, the nodes that hold them, and bytes that are arriving."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.namespace import Namespace
from sfweb.models.node import Node
from sfweb.models.state import State


class Blob(models.Model):
    """Immutable bytes. Size and hash are null until the first node has fetched and verified them. Sizes in bytes.

    source_url       where the first node gets it; upload: the upload it is made of, on `upload.node`
    expected_sha512  given with the request; a mismatch is an error
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=16, default=State.INITIAL)
    error_message = models.TextField(null=True)
    size = models.PositiveBigIntegerField(null=True)
    virtual_size = models.PositiveBigIntegerField(null=True)
    format = models.CharField(max_length=16, null=True)
    sha512 = NameField(max_length=128, null=True)
    expected_sha512 = NameField(max_length=128, null=True)
    source_url = models.CharField(max_length=1024, default="")
    upload = models.ForeignKey("Upload", null=True, on_delete=models.SET_NULL, related_name="blobs")
    created_at = CreatedField()
    fetched_at = models.DateTimeField(null=True)
    last_used = models.DateTimeField(null=True)

    class Meta:
        db_table = "blobs"
        indexes = [models.Index(fields=["sha512"]), models.Index(fields=["state", "created_at"])]


class BlobLocation(models.Model):
    """A verified copy of a blob on a node."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="locations")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="blob_locations")
    verified_at = CreatedField()

    class Meta:
        db_table = "blob_locations"
        constraints = [models.UniqueConstraint(fields=["blob", "node"], name="blob_location_once")]


class Upload(models.Model):
    """Bytes that are arriving on `node`, chunk by chunk."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="uploads")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="uploads")
    state = models.CharField(max_length=16, default=State.CREATED)
    size = models.PositiveBigIntegerField(default=0)
    created_at = CreatedField()

    class Meta:
        db_table = "uploads"
        indexes = [models.Index(fields=["state", "created_at"])]

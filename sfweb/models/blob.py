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
    checksums_url    a list of sums that its publisher keeps
    expected_sha512  of what arrives, given with the request; a mismatch is an error
    validators       what the web server said of this version (etag, last_modified)
    verbatim         kept as it came, whatever it is: it is for no disk
    archive          the blob that it is a range of, from `archive_offset` on; then its size is known before it is there
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
    checksums_url = models.CharField(max_length=1024, default="")
    validators = models.JSONField(default=dict)
    verbatim = models.BooleanField(default=False)
    archive = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="unpacked")
    archive_offset = models.PositiveBigIntegerField(null=True)
    upload = models.ForeignKey("Upload", null=True, on_delete=models.SET_NULL, related_name="blobs")
    created_at = CreatedField()
    fetched_at = models.DateTimeField(null=True)
    last_used = models.DateTimeField(null=True)

    class Meta:
        db_table = "blobs"
        indexes = [
            models.Index(fields=["sha512"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["created_at"]),
        ]


class BlobLocation(models.Model):
    """A verified copy of a blob on a node."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="locations")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="blob_locations")
    verified_at = CreatedField()

    class Meta:
        db_table = "blob_locations"
        constraints = [models.UniqueConstraint(fields=["blob", "node"], name="blob_location_once")]


class BlobHash(models.Model):
    """One hash of one copy (BL-3): two copies that disagree are both visible. `status` pending, verified or failed.

    last_check  names the node's verification that was taken last, so that its repetition counts once
    """

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="hashes")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="blob_hashes")
    algorithm = NameField(max_length=16)
    hash_value = NameField(max_length=256)
    file_size = models.PositiveBigIntegerField()
    computed_at = CreatedField()
    last_verified_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=16, default="pending")
    error_message = models.CharField(max_length=255, null=True)
    last_check = NameField(max_length=32, default="")

    class Meta:
        db_table = "blob_hashes"
        constraints = [models.UniqueConstraint(fields=["blob", "node", "algorithm"], name="blob_hash_once")]
        indexes = [
            models.Index(fields=["algorithm", "hash_value"]),
            models.Index(fields=["blob", "status"]),
            models.Index(fields=["status"]),
            models.Index(fields=["last_verified_at"]),
        ]


class Upload(models.Model):
    """Bytes that are arriving on `node`, chunk by chunk. `cleared_at`: the node has nothing of it any more."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="uploads")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="uploads")
    state = models.CharField(max_length=16, default=State.CREATED)
    size = models.PositiveBigIntegerField(default=0)
    created_at = CreatedField()
    touched_at = CreatedField()
    cleared_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "uploads"
        indexes = [models.Index(fields=["state", "created_at"])]

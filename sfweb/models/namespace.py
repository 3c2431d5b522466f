"""Owners of things, their credentials, and who may act for whom."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.state import State

SYSTEM = "system"


class Namespace(models.Model):
    """An owner of things. The name of a deleted one stays taken until its row goes.

    limits  ceilings that differ from the settings' (SE-12), by the names in `domain/limits.py`
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = NameField(unique=True)
    state = models.CharField(max_length=16, default=State.CREATED)
    limits = models.JSONField(default=dict)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "namespaces"

    def __str__(self) -> str:
        return self.name


class Trust(models.Model):
    """`trusted` may act on `namespace`."""

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="trusts")
    trusted = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="trusted_by")

    class Meta:
        db_table = "trusts"
        constraints = [models.UniqueConstraint(fields=["namespace", "trusted"], name="trust_once")]


class Key(models.Model):
    """A namespace's credential. `digest` is a bcrypt hash; a new `nonce` ends every token of the old secret (AU-1).

    scopes  null: it may all that its namespace may
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="keys")
    name = NameField()
    digest = models.CharField(max_length=100)
    nonce = NameField(max_length=32)
    expires_at = models.DateTimeField(null=True)
    scopes = models.JSONField(null=True)
    state = models.CharField(max_length=16, default=State.CREATED)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "namespace_keys"
        constraints = [models.UniqueConstraint(fields=["namespace", "name"], name="key_name_once")]
        indexes = [models.Index(fields=["state", "expires_at"])]

    def __str__(self) -> str:
        return f"{self.namespace_id}/{self.name}"

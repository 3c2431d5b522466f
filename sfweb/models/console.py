"""The right to one console connection, and pictures of screens."""

from django.db import models

from sfweb.models.blob import Blob
from sfweb.models.fields import CreatedField, NameField
from sfweb.models.instance import Instance


class ConsoleTicket(models.Model):
    """Good once, for a minute, for one instance and one purpose. Only its digest is stored (SE-15).

    nonce  of the key that asked for it, without which it is good for nothing any more
    """

    digest = NameField(primary_key=True)
    purpose = models.CharField(max_length=8, default="console")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE)
    issued_to = models.CharField(max_length=128)
    nonce = NameField(max_length=32, default="")
    created_at = CreatedField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_tickets"
        indexes = [models.Index(fields=["expires_at"])]


class Screenshot(models.Model):
    """A picture of an instance's screen: it is kept for a while, for those who may see the instance (SE-11)."""

    blob = models.OneToOneField(Blob, primary_key=True, on_delete=models.CASCADE, related_name="screenshot")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="screenshots")
    created_at = CreatedField()

    class Meta:
        db_table = "screenshots"
        indexes = [models.Index(fields=["created_at"])]

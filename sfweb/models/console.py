"""The right to one console connection."""

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.instance import Instance


class ConsoleTicket(models.Model):
    """Good once, for a minute, for one instance. Only its digest is stored (SE-15)."""

    digest = NameField(primary_key=True)
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE)
    issued_to = models.CharField(max_length=128)
    created_at = CreatedField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "console_tickets"
        indexes = [models.Index(fields=["expires_at"])]

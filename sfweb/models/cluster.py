"""Rows about the cluster itself: recurring duties, bootstrap, schema."""

from django.db import models

from sfweb.models.fields import NameField


class Duty(models.Model):
    """A reconciler's slot: claimed by a conditional UPDATE, so that two clocks never run it at once (EN-17).

    failures  passes in a row that failed as a whole, most often because what there is to do could not be read (RO-13)
    """

    name = NameField(primary_key=True)
    next_run_at = models.DateTimeField()
    running_until = models.DateTimeField(null=True)
    last_run_at = models.DateTimeField(null=True)
    last_seconds = models.FloatField(null=True)
    last_result = models.JSONField(null=True)
    last_error = models.TextField(default="")
    failures = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "duties"
        verbose_name_plural = "duties"


class BootstrapOperation(models.Model):
    """A one-time bootstrap step that is done; committed together with its effect (RP-6)."""

    name = NameField(primary_key=True)
    completed_at = models.DateTimeField()
    actor = models.CharField(max_length=255)
    details = models.JSONField(default=dict)

    class Meta:
        db_table = "bootstrap_operations"


class SchemaVersion(models.Model):
    """Which schema the database has, and the oldest code that may run on it (EN-18). One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    version = models.PositiveIntegerField()
    compatible_since = models.PositiveIntegerField()

    class Meta:
        db_table = "schema_version"

"""What users ask of the agent inside a guest: commands, and files in either direction."""

import uuid

from django.db import models

from sfweb.models.blob import Blob
from sfweb.models.fields import CreatedField
from sfweb.models.instance import Instance
from sfweb.models.namespace import Namespace
from sfweb.models.operation import Operation
from sfweb.models.state import AgentOperationState


class AgentOperation(models.Model):
    """One thing asked of one guest. `executing` is no state of the row: its engine operation says whether it runs.

    commands   as the public client reads them: [{command, …}]; results {"0": {…}} by their index
    deadline   by the database's clock; null for none
    patience   seconds within which each piece of a file must move, 0 for commands
    blob       the file that was fetched, the output that was too long, or the file that is put
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="agent_operations")
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="agent_operations")
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="agent_operations")
    state = models.CharField(max_length=12, default=AgentOperationState.QUEUED)
    commands = models.JSONField(default=list)
    results = models.JSONField(default=dict)
    error_message = models.TextField(null=True)
    deadline = models.DateTimeField(null=True)
    patience = models.PositiveIntegerField(default=0)
    blob = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="agent_operations")
    created_at = CreatedField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "agent_operations"
        indexes = [
            models.Index(fields=["instance", "created_at"]),
            models.Index(fields=["state", "deadline"]),
            models.Index(fields=["state", "finished_at"]),
        ]

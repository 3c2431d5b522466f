"""The reconciler agent_operations: nothing waits for ever, nothing is kept for ever.

What it does to what runs is in tests/operations/test_guest_execute.py.
"""

from sftasks.reconcilers import agent_operations
from sfweb.models import AgentOperation, Instance, Namespace
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import AgentOperationState


def make(**columns):
    namespace, _ = Namespace.objects.get_or_create(name="tenant")
    instance = Instance.objects.filter(namespace=namespace).first() or Instance.objects.create(
        namespace=namespace, name="guest", cpus=1, memory_mb=64
    )
    return AgentOperation.objects.create(instance=instance, namespace=namespace, **columns)


def test_what_ended_is_kept_for_a_week_and_then_goes(db):
    old = make(state=AgentOperationState.COMPLETE, finished_at=FromNow(-8 * 86400))
    new = make(state=AgentOperationState.COMPLETE, finished_at=UtcNow())
    assert agent_operations.run() == {"expired": 0, "forgotten": 1, "deleted": 1}
    assert list(AgentOperation.objects.values_list("pk", flat=True)) == [new.pk]
    assert old.pk != new.pk

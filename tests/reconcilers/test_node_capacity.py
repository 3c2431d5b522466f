"""node_capacity: counters are what live reservations add up to (SC-6)."""

from sftasks.reconcilers import node_capacity
from sfweb.models import Event, NodeCapacity


def test_sc_6_drift_is_set_right_and_told(guest):
    NodeCapacity.objects.filter(node_id=guest.home.pk).update(used_cpus=17, used_disk_gb=0)
    assert guest.run(node_capacity.run) == {"drifted": 1}
    row = NodeCapacity.objects.get(node_id=guest.home.pk)
    assert (row.used_cpus, row.used_memory_mb, row.used_disk_gb) == (1, 256, 1)
    assert Event.objects.filter(message="capacity counters had drifted").count() == 1


def test_right_counters_are_left_alone(guest):
    assert guest.run(node_capacity.run) == {"drifted": 0}

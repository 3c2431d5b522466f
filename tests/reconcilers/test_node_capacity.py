"""node_capacity: counters are what live reservations add up to (SC-6)."""

import pytest

from sftasks.operations import instance_create
from sftasks.reconcilers import node_capacity
from sfweb.errors import NoCapacity
from sfweb.models import Event, NodeCapacity
from tests.factories import new_instance


def test_sc_6_drift_is_set_right_and_told(guest):
    NodeCapacity.objects.filter(node_id=guest.home.pk).update(used_cpus=17, used_disk_gb=0)
    assert guest.run(node_capacity.run) == {"made": 0, "drifted": 1, "claims_drifted": 0}
    row = NodeCapacity.objects.get(node_id=guest.home.pk)
    assert (row.used_cpus, row.used_memory_mb, row.used_disk_gb) == (1, 256, 1)
    assert Event.objects.filter(message="capacity counters had drifted").count() == 1


def test_right_counters_are_left_alone(guest):
    assert guest.run(node_capacity.run) == {"made": 0, "drifted": 0, "claims_drifted": 0}


def test_sc_27_a_node_whose_counters_are_missing_is_no_empty_one(served):
    NodeCapacity.objects.filter(node_id=served.nodes[0].pk).delete()
    with pytest.raises(NoCapacity) as caught:
        served.ask(instance_create.request, served.caller, new_instance("x", "tenant", "net", placed_on="node1"))
    assert caught.value.stage == "capacity_unknown"
    assert served.run(node_capacity.run) == {"made": 1, "drifted": 0, "claims_drifted": 0}
    assert Event.objects.filter(message__startswith="capacity counters were missing").count() == 1
    served.run(served.nodes[0].report)
    served.ask(instance_create.request, served.caller, new_instance("x", "tenant", "net", placed_on="node1"))

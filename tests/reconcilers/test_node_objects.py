"""node_objects: every wish that a node has not confirmed gets the operation that serves it (EN-13)."""

from sftasks.reconcilers import node_objects
from sfweb.models import Node, NodeObject, Operation
from sfweb.models.fields import FromNow


def test_en_13_a_restarted_host_gets_networks_routers_and_guests_again(guest):
    for node in guest.nodes:
        node.host.power_cut()
    NodeObject.objects.exclude(object_type="blob").update(applied_generation=0)
    for _ in range(3):
        guest.run(node_objects.run)
        guest.settle()
    assert guest.findings() == []
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_nothing_differs_nothing_is_submitted(guest):
    before = Operation.objects.count()
    assert guest.run(node_objects.run) == {"submitted": 0}
    assert Operation.objects.count() == before


def test_a_silent_node_a_busy_object_and_a_parked_one_are_left_alone(guest):
    NodeObject.objects.filter(object_type="instance").update(applied_generation=0)
    Node.objects.filter(pk=guest.home.pk).update(last_seen=FromNow(-100))
    assert guest.run(node_objects.run) == {"submitted": 0}
    guest.run(guest.home.report)
    NodeObject.objects.filter(object_type="instance").update(error="unknown: cause")
    assert guest.run(node_objects.run) == {"submitted": 0}
    NodeObject.objects.filter(object_type="instance").update(error=None)
    assert guest.run(node_objects.run) == {"submitted": 1}
    assert guest.run(node_objects.run) == {"submitted": 0}

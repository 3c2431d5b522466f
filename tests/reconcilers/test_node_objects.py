"""node_objects: every wish that a node has not confirmed gets the operation that serves it (EN-13)."""

import uuid

from nodeagent.wire import Inventory, SeenObject
from sftasks.operations import instance_delete
from sftasks.reconcilers import node_objects
from sfweb.internal import inventory
from sfweb.models import Instance, Node, NodeObject, Operation
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


def _park_a_residue(cluster):
    """A guest whose owner has deleted it, and that refused to go: nobody is left who could ask again."""
    cluster.home.host.faults.fail_next("stop_domain", RuntimeError("stuck"), times=2)
    cluster.ask(instance_delete.request, cluster.caller, cluster.instance)
    cluster.settle()
    assert NodeObject.objects.get(object_type="instance").error
    Instance.objects.filter(pk=cluster.instance.pk).update(state="deleted")


def test_en_1_a_residue_that_refused_to_go_is_tried_again_after_a_while(guest):
    _park_a_residue(guest)
    assert guest.run(node_objects.run) == {"submitted": 0}
    Operation.objects.exclude(finished_at=None).update(finished_at=FromNow(-3600))
    assert guest.run(node_objects.run) == {"submitted": 1}
    guest.settle()
    assert guest.home.host.inventory().instances == {}
    assert guest.findings() == []


def test_en_12_a_node_that_returns_with_such_a_residue_is_not_missing_for_ever(guest):
    _park_a_residue(guest)
    Node.objects.filter(pk=guest.home.pk).update(state="missing")
    Operation.objects.exclude(finished_at=None).update(finished_at=FromNow(-3600))
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.settle()
    guest.run(guest.home.report)
    assert guest.home.row.state == "created"


def test_ro_12_one_wish_that_cannot_be_served_does_not_keep_the_others(guest):
    NodeObject.objects.create(node_id=guest.home.pk, object_type="network", object_uuid=uuid.uuid4())
    NodeObject.objects.filter(object_type="instance").update(applied_generation=0)
    NodeObject.objects.create(node_id=guest.home.pk, object_type="router", object_uuid=uuid.uuid4())
    assert guest.run(node_objects.run) == {"submitted": 1}


def test_what_is_as_wished_costs_the_same_few_queries_however_much_it_is(guest, django_assert_num_queries):
    with django_assert_num_queries(1):
        node_objects.run()
    template = NodeObject.objects.get(object_type="blob", node_id=guest.home.pk)
    for _ in range(50):
        template.pk, template.object_uuid = None, uuid.uuid4()
        template.save(force_insert=True)
    with django_assert_num_queries(1):
        node_objects.run()


def test_an_inventory_costs_the_same_few_queries_however_much_it_shows(guest, django_assert_max_num_queries):
    template = NodeObject.objects.get(object_type="blob", node_id=guest.home.pk)
    for _ in range(50):
        template.pk, template.object_uuid = None, uuid.uuid4()
        template.save(force_insert=True)
    rows = NodeObject.objects.filter(node_id=guest.home.pk)
    seen = tuple(SeenObject(object_type=row.object_type, object_uuid=str(row.object_uuid), power="on") for row in rows)
    with django_assert_max_num_queries(8):
        inventory.compare(guest.home.row, Inventory(seq=10**6, complete=True, objects=seen))

"""node_resources: an event of type `resources` on each node, not too often, with what is free of it."""

from sftasks.reconcilers import node_resources
from sfweb.domain.event_pages import events_of
from sfweb.models import EventObject, Node
from sfweb.models.fields import FromNow


def told(node):
    return events_of("node", node.pk, kind="resources", limit=10, before=None)


def test_each_node_is_told_of_once_in_five_minutes(guest):
    Node.objects.filter(pk=guest.nodes[0].pk).update(facts={"cpu_fractions": {"work": 0.5}})
    assert guest.run(node_resources.run) == {"told": 2}
    assert guest.run(node_resources.run) == {"told": 0}
    (event,) = told(guest.nodes[0])
    assert event.node == guest.nodes[0].name
    assert event.extra["process_cpu_fraction_work"] == 0.5
    (of_home,) = told(guest.home)
    assert of_home.extra["cpu_max"] - of_home.extra["cpu_available"] == guest.instance.cpus
    assert of_home.extra["ram_max"] - of_home.extra["ram_available"] == guest.instance.memory_mb
    EventObject.objects.filter(object_uuid=guest.home.pk).update(at=FromNow(-301))
    assert guest.run(node_resources.run) == {"told": 1}
    assert len(told(guest.home)) == 2


def test_missing_and_deleted_nodes_have_nothing_to_tell(guest):
    Node.objects.update(state="missing")
    assert guest.run(node_resources.run) == {"told": 0}

"""instance_on_node: what the reconciler of wishes submits when a node lost, or still holds, an instance."""

from sftasks import engine
from sftasks.operation import Accepted
from sftasks.plans import instances
from sfweb.domain.transactions import durable
from sfweb.models import NodeObject
from tests.cluster import repeats_are_harmless


def repair(cluster):
    wish = instances.on_node(cluster.instance, cluster.caller)
    return Accepted(cluster.instance, cluster.run(durable(lambda: engine.submit(wish))))


def test_a_lost_guest_comes_back(guest):
    guest.home.host.end_domain(str(guest.instance.pk), "crashed")
    NodeObject.objects.filter(object_type="instance").update(applied_generation=0)
    repair(guest)
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_repeats_are_harmless(guest):
    guest.home.host.end_domain(str(guest.instance.pk), "crashed")
    assert repeats_are_harmless(guest, repair).state == "succeeded"


def test_ga_9_a_port_that_was_taken_meanwhile_is_replaced(guest):
    guest.home.host.end_domain(str(guest.instance.pk), "crashed")
    guest.home.host.taken_ports = {guest.instance.console_port}
    repair(guest)
    guest.settle()
    guest.instance.refresh_from_db()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"
    assert guest.instance.console_port not in guest.home.host.taken_ports

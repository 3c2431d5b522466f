"""After a host's restart every instance that was on is on again, after its networks; one that was powered off stays off."""

import pytest

from nodeagent.host import Retry
from sftasks.operations import instance_create, instance_power
from sftasks.reconcilers import node_objects
from sfweb.internal import inventory
from sfweb.models import Instance
from tests.factories import new_instance


@pytest.fixture
def full(make_served):
    """One node with guests that are on, paused, switched off by their owner, and shut down by themselves."""
    made = make_served()
    names = ("runs", "paused", "switched-off", "ended-itself")
    for name in names:
        made.ask(instance_create.request, made.caller, new_instance(name, "tenant", "net", placed_on="node1"))
    made.settle()
    made.rows = {name: Instance.objects.get(name=name) for name in names}
    made.ask(instance_power.request, made.caller, made.rows["paused"], "pause")
    made.ask(instance_power.request, made.caller, made.rows["switched-off"], "poweroff")
    made.settle()
    start_only_on_networks_that_are_there(made.nodes[0].host)
    node, ended = made.nodes[0], str(made.rows["ended-itself"].pk)
    node.host.end_domain(ended, "guest")
    known = node.journal.known(f"instance:{ended}").generation
    made.run(inventory.powered_off_by_guest, node.row, [ended], {ended: known})
    made.settle()
    made.run(node_objects.run)
    made.settle()
    return made


def start_only_on_networks_that_are_there(host) -> None:
    """As a real machine does."""
    genuine = host.start_domain

    def start(spec, digest):
        if {card.network for card in spec.interfaces} - set(host.inventory().networks):
            raise Retry("network.missing")
        genuine(spec, digest)

    host.start_domain = start


def powers(cluster) -> dict[str, str]:
    seen = cluster.nodes[0].host.inventory().instances
    return {name: seen[str(row.pk)] for name, row in cluster.rows.items()}


def test_pw_1_what_was_on_is_on_again_in_order_and_what_was_off_stays_off(full):
    before = powers(full)
    assert before == {"runs": "on", "paused": "paused", "switched-off": "off", "ended-itself": "off"}
    node = full.nodes[0]
    node.host.power_cut()
    node.restart()
    happened = len(node.host.effects)
    for _ in range(3):
        full.run(node.report, with_inventory=True)
        full.run(node_objects.run)
        full.settle()
    assert powers(full) == before
    verbs = [verb for verb, _ in node.host.effects[happened:]]
    assert "ensure_network" in verbs[: verbs.index("start_domain")]
    assert verbs.count("start_domain") == 2
    assert full.findings() == []


def test_pw_1_an_owners_wish_during_the_outage_counts(full):
    node = full.nodes[0]
    node.host.power_cut()
    node.restart()
    full.ask(instance_power.request, full.caller, full.rows["runs"], "poweroff")
    for _ in range(3):
        full.run(node.report, with_inventory=True)
        full.run(node_objects.run)
        full.settle()
    assert powers(full)["runs"] == "off"
    assert full.findings() == []

"""stray_remove: parts of networks that nothing knows of any more leave their node, and nothing else does."""

import pytest

from nodeagent.host import Refused
from sfweb.models import Event, Network, NodeObject, Operation
from tests.cluster import Cluster, repeats_are_harmless
from tests.node_specs import network_spec, router_spec

STRAY = "6f1c9d0a-0000-4000-8000-0000000000aa"


@pytest.fixture
def haunted(served) -> Cluster:
    """A cluster whose second node has bridge and router of a network that no row names."""
    served.home = served.nodes[1]
    served.home.host.ensure_network(network_spec(network=STRAY, vni=77))
    served.home.host.ensure_router(router_spec(network=STRAY, vni=77))
    return served


def look(cluster: Cluster, times: int = 1) -> None:
    for _ in range(times):
        cluster.run(cluster.home.report, with_inventory=True)


def held(cluster: Cluster) -> tuple[bool, bool]:
    found = cluster.home.host.inventory()
    return STRAY in found.routers, STRAY in found.networks


def test_sr_1_sr_5_what_no_row_names_goes_after_two_looks(haunted):
    look(haunted)
    haunted.settle()
    assert held(haunted) == (True, True)
    look(haunted)
    haunted.settle()
    assert held(haunted) == (False, False)
    told = list(Event.objects.filter(type="audit", message__contains="stray vxlan").values_list("message", flat=True))
    assert sorted(told) == ["enqueued teardown of stray vxlan", "reaped stray vxlan"]
    assert haunted.findings() == []


def test_sr_2_a_network_that_lives_elsewhere_goes_from_a_node_that_has_no_use_for_it(served):
    served.home = served.nodes[1] if served.network.carrier.node_id == served.nodes[0].pk else served.nodes[0]
    assert not NodeObject.objects.filter(node=served.home.pk).exists()
    served.home.host.ensure_network(network_spec(network=str(served.network.pk), vni=served.network.vni))
    look(served, 2)
    served.settle()
    assert str(served.network.pk) not in served.home.host.inventory().networks
    assert Network.objects.get(pk=served.network.pk).state == "created"
    assert served.findings() == []


def test_repeats_are_harmless(haunted):
    def scenario(cluster):
        look(cluster, 2)

        class Found:
            operation = Operation.objects.get(kind="stray_remove")

        return Found

    assert repeats_are_harmless(haunted, scenario).state == "succeeded"


def test_one_look_counts_once_however_often_it_is_reported(haunted):
    look(haunted)
    same = haunted.home.row.inventory
    assert same["uuid"]
    from nodeagent.wire import Inventory, load
    from sfweb.internal import strays

    assert strays.reap(haunted.home.row, same, load(Inventory, same)) == 0
    assert not Operation.objects.filter(kind="stray_remove").exists()


def test_what_is_wished_or_waits_for_its_end_is_no_stray(served):
    for node in served.nodes:
        served.home = node
        look(served, 3)
    served.settle()
    assert not Operation.objects.filter(kind="stray_remove").exists()


def test_sr_3_one_that_a_stranger_uses_stays_and_is_left_for_a_while(haunted):
    haunted.home.host.fail_next("remove_network", Refused("network.in_use", "a tap is plugged in"), times=9)
    look(haunted, 2)
    haunted.settle()
    look(haunted, 3)
    haunted.settle()
    assert held(haunted) == (False, True)
    operation = Operation.objects.get(kind="stray_remove")
    assert operation.state == "failed"
    assert Event.objects.filter(message__startswith="stray vxlan stays").count() == 1

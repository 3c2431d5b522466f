"""network_ping: observes only, answers in its step, and holds nothing up."""

import pytest

from sftasks.operations import network_delete, network_ping
from sfweb.errors import Invalid, NotReady
from sfweb.models import CarrierLease, Network, Operation
from tests.cluster import repeats_are_harmless


def ping(cluster, address="10.0.0.9"):
    return cluster.ask(network_ping.request, cluster.caller, cluster.network, address)


def test_hp_6_the_lines_are_the_answer(served):
    made = ping(served)
    served.settle()
    done = Operation.objects.get(pk=made.operation.pk)
    assert (done.state, done.running_key) == ("succeeded", None)
    assert network_ping.printed(done)["stdout"][0] == "PING 10.0.0.9"
    assert network_ping.printed(done)["stderr"] == []
    assert served.findings() == []


@pytest.mark.parametrize("address", ["10.0.1.1", "nonsense", "::1", "10.0.0.0/24"])
def test_hp_6_only_addresses_of_the_network(served, address):
    with pytest.raises(Invalid):
        ping(served, address)


def test_hp_6_a_network_that_nobody_serves_cannot_be_pinged(served):
    CarrierLease.objects.filter(network=served.network).update(node=None)
    with pytest.raises(NotReady):
        ping(served)
    Network.objects.filter(pk=served.network.pk).update(state="initial")
    with pytest.raises(NotReady):
        ping(served)


def test_hp_6_a_router_that_has_gone_is_a_failure_and_not_loss(served):
    made = ping(served)
    next(node for node in served.nodes if node.host.inventory().routers).host.power_cut()
    served.settle()
    done = Operation.objects.get(pk=made.operation.pk)
    assert (done.state, done.error_code) == ("failed", "router.absent")


def test_nw_5_a_network_that_is_going_is_not_pinged(guest):
    guest.ask(network_delete.request, guest.caller, guest.network)
    with pytest.raises(NotReady):
        ping(guest)


def test_repeats_are_harmless(served):
    assert repeats_are_harmless(served, ping).state == "succeeded"

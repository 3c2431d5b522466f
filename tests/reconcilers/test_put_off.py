"""put_off: what gathers so that more can join it is done when its time has come (EN-20)."""

import pytest
from django.db.models import F

from sftasks import engine, explain, mesh
from sftasks.operations import instance_create, instance_delete, network_delete
from sftasks.plans import networks
from sftasks.reconcilers import put_off
from sfweb.domain.transactions import durable
from sfweb.models import CarrierLease, Network, NodeObject, Operation, Step
from sfweb.models.fields import FromNow
from tests.factories import new_instance


@pytest.fixture
def wide(make_served):
    """A network that three nodes are about to hold."""
    return make_served(nodes=4)


@pytest.fixture
def unhurried(served, monkeypatch):
    """A cluster in which a test is over before a rest is."""
    monkeypatch.setattr(engine, "STARTS_SECONDS", 3600.0)
    monkeypatch.setattr(engine, "REST_SECONDS", 3600.0)
    return served


def create(cluster, name, node=None):
    wanted = new_instance(name, "tenant", "net", placed_on=node.name if node else None)
    return cluster.ask(instance_create.request, cluster.caller, wanted).row


def known_peers(cluster, node):
    with node.host._store.exclusive() as held:
        return set(held["networks"][str(cluster.network.pk)]["peers"])


def time_passes():
    Network.objects.filter(peers_due_at__isnull=False).update(peers_due_at=FromNow(-1))
    Operation.objects.filter(not_before__isnull=False).update(not_before=FromNow(-1))


def all_agree(cluster):
    return all(
        known_peers(cluster, node) == set(networks.peers(cluster.network.pk, node.pk))
        for node in cluster.nodes
        if node.host.inventory().networks
    )


def routers_told():
    return Step.objects.filter(action="ensure_router", state="done").count()


def test_en_20_the_nodes_that_hold_a_network_learn_of_several_new_members_at_once(wide):
    for number, node in enumerate(wide.nodes):
        create(wide, f"guest{number}", node)
        wide.settle()
    assert not all_agree(wide), "the first ones have not been told of the last"
    before = Operation.objects.filter(kind="network_on_node").count()
    assert wide.run(put_off.run) == {"told": 0, "started": 0}
    time_passes()
    told = wide.run(put_off.run)["told"]
    wide.settle()
    assert all_agree(wide)
    assert 0 < told < len(wide.nodes)
    assert Operation.objects.filter(kind="network_on_node").count() == before + told
    time_passes()
    assert wide.run(put_off.run) == {"told": 0, "started": 0}, "there is no more news"


def test_en_20_the_nodes_that_are_left_learn_who_went(wide):
    guests = [create(wide, f"guest{number}", node) for number, node in enumerate(wide.nodes)]
    wide.settle()
    time_passes()
    wide.run(put_off.run)
    wide.settle()
    wide.ask(instance_delete.request, wide.caller, guests[0])
    wide.settle()
    time_passes()
    wide.run(put_off.run)
    wide.settle()
    assert all_agree(wide)
    assert wide.findings() == []


def test_a_node_that_is_silent_keeps_the_others_from_nothing(wide):
    for number, node in enumerate(wide.nodes):
        create(wide, f"guest{number}", node)
        wide.settle()
    NodeObject.objects.filter(node_id=wide.nodes[0].pk).update(error="unknown: cause")
    first = wide.nodes[0].row
    first.state = "missing"
    first.save(update_fields=["state"])
    time_passes()
    wide.run(put_off.run)
    wide.settle()
    others = wide.nodes[1:]
    assert all(known_peers(wide, node) == set(networks.peers(wide.network.pk, node.pk)) for node in others)
    assert not Operation.objects.filter(object_key__endswith=f"@{first.pk}", state="waiting").exists()


def start(cluster, number):
    for each in range(number):
        create(cluster, f"guest{each}")
        for node in cluster.nodes:
            cluster.run(node.work)
            cluster.run(node.tell)


def test_en_20_of_many_starts_the_carrier_hears_few_times_and_each_guest_starts(unhurried):
    served, before = unhurried, routers_told()
    start(served, engine.MOST_STARTS + 7)
    gathering = Operation.objects.get(kind="router_on_node", state="waiting")
    assert gathering.joined >= 5
    told = explain.why(gathering)
    assert (told["waits_for"], told["at"]) == ("time", gathering.not_before.timestamp())
    assert "more of the same can join" in told["sentence"]
    assert routers_told() - before <= engine.MOST_STARTS
    time_passes()
    assert served.run(put_off.run)["started"] == 1
    served.settle()
    assert {state for (state,) in Operation.objects.filter(kind="instance_create").values_list("state")} == {
        "succeeded"
    }
    assert routers_told() - before <= engine.MOST_STARTS + 1
    assert served.findings() == []


def test_a_few_starts_one_after_the_other_are_not_put_off(served):
    for number in range(engine.MOST_STARTS - 1):
        create(served, f"guest{number}")
        served.settle()
    assert not Operation.objects.filter(not_before__isnull=False).exists()


def test_a_wish_that_cannot_gather_starts_what_gathers(unhurried):
    served = unhurried
    start(served, engine.MOST_STARTS + 2)
    gathering = Operation.objects.get(kind="router_on_node", state="waiting")
    network = served.network
    served.run(durable(lambda: mesh.refresh(Network.objects.select_for_update().get(pk=network.pk), served.caller)))
    gathering.refresh_from_db()
    assert gathering.not_before is None
    assert gathering.state == "running"


def test_a_network_goes_at_once_although_its_router_was_told_often(unhurried):
    served = unhurried
    guests = [create(served, f"guest{number}") for number in range(engine.MOST_STARTS - 1)]
    served.settle()
    for guest in guests:
        served.ask(instance_delete.request, served.caller, guest)
        served.settle(rounds=3)
    deletion = served.ask(network_delete.request, served.caller, served.network).operation
    served.settle()
    assert Operation.objects.get(pk=deletion.pk).state == "succeeded"


@pytest.mark.parametrize("router_waits", [False, True])
def test_en_20_a_router_goes_before_its_bridge_whose_news_gather(unhurried, router_waits):
    served = unhurried
    guest, carrier = create(served, "guest"), CarrierLease.objects.get().node_id
    served.settle()
    network = Network.objects.filter(pk=served.network.pk)
    for _ in range(engine.MOST_STARTS + 1):
        network.update(mesh_generation=F("mesh_generation") + 1)
        served.run(durable(lambda: mesh.tell_peers(network.select_for_update().get())))
        served.run(lambda: [(node.work(), node.tell()) for node in served.nodes])
    if router_waits:
        served.run(durable(lambda: mesh.refresh(network.select_for_update().get(), served.caller)))
    keys = set(Operation.objects.filter(state="waiting").values_list("object_key", flat=True))
    assert f"network:{served.network.pk}@{carrier}" in keys
    assert (f"router:{served.network.pk}@{carrier}" in keys) == router_waits
    deletion = served.ask(network_delete.request, served.caller, served.network).operation
    served.ask(instance_delete.request, served.caller, guest)
    served.settle()
    assert Operation.objects.get(pk=deletion.pk).state == "succeeded"
    router = Step.objects.get(action="remove_router")
    assert Step.objects.get(action="remove_network", node_id=carrier).sent_at > router.finished_at
    assert served.findings() == []

"""What users of such clouds reported about networks, and the failures that their plans name, as outcomes that they see.

The numbers are those of the public project's issues. What needs a kernel or a guest is in tests/drivers and tests/e2e.
"""

import pytest
from django.db import OperationalError

from nodeagent.host import Retry
from sftasks import engine
from sftasks.operations import (
    address_expose,
    instance_create,
    instance_delete,
    interface_unplug,
    network_create,
    network_delete,
)
from sftasks.reconcilers import node_objects
from sfweb.domain.specs import NewInterface
from sfweb.errors import Conflict, Invalid, NoCapacity, NotFound, NotReady
from sfweb.models import FLOATING, Address, Instance, Interface, Network, NodeObject, Operation, PoolAllocation
from tests.cluster import Cluster
from tests.factories import new_instance, new_network


def create(cluster: Cluster, name: str = "guest", *cards: NewInterface) -> Instance:
    wanted = new_instance(name, "tenant", interfaces=cards or (NewInterface(network="net"),))
    return cluster.ask(instance_create.request, cluster.caller, wanted).row


def cards_of(instance: Instance) -> list[Interface]:
    return list(Interface.objects.filter(instance=instance).order_by("order"))


def delete(cluster: Cluster, instance: Instance) -> None:
    cluster.ask(instance_delete.request, cluster.caller, instance)


def routers(cluster: Cluster) -> dict[str, dict]:
    return {key: spec for node in cluster.nodes for key, spec in node.host.specs("routers").items()}


def test_105_two_cards_on_one_network_in_a_stable_order(served):
    instance = create(served, "guest", NewInterface(network="net"), NewInterface(network="net"))
    served.settle()
    first, second = cards_of(instance)
    assert (first.order, second.order, first.state, second.state) == (0, 1, "created", "created")
    assert len({first.mac, second.mac, first.address, second.address}) == 4
    assert served.findings() == []


def test_198_a_network_can_go_once_nobody_uses_it_and_not_before(served):
    instance = create(served)
    served.settle()
    served.ask(network_delete.request, served.caller, served.network)
    served.settle()
    assert Network.objects.get(pk=served.network.pk).state == "delete-wait"
    delete(served, instance)
    served.settle()
    assert Network.objects.get(pk=served.network.pk).state == "deleted"
    assert not any(node.host.inventory().networks for node in served.nodes)
    assert served.findings() == []


def test_227_1295_the_end_of_one_guest_leaves_the_others_network_and_frees_its_address(served):
    one, two = create(served, "one"), create(served, "two")
    served.settle()
    gone = cards_of(one)[0].address
    delete(served, one)
    served.settle()
    (router,) = routers(served).values()
    assert [host["name"] for host in router["hosts"]] == ["two"]
    assert Address.objects.get(network=served.network, owner_uuid=cards_of(two)[0].pk).kind == "instance"
    assert (
        str(served.network.pk) in served.nodes[0].host.inventory().networks
        or str(served.network.pk) in served.nodes[1].host.inventory().networks
    )
    halo = Address.objects.filter(network=served.network, kind="deletion-halo")
    assert [f"10.0.0.{row.value & 255}" for row in halo] == [gone]
    assert served.findings() == []


def test_500_647_a_network_that_is_deleted_while_it_is_made_is_gone(make_bare):
    cluster = make_bare()
    row = cluster.ask(network_create.request, cluster.caller, new_network()).row
    cluster.ask(network_delete.request, cluster.caller, row)
    cluster.settle()
    assert Network.objects.get(pk=row.pk).state == "deleted"
    assert not any(node.host.inventory().networks or node.host.inventory().routers for node in cluster.nodes)
    assert cluster.findings() == []


def test_nw_5_nothing_comes_onto_a_network_that_is_going(served):
    create(served, "holds")
    served.settle()
    served.ask(network_delete.request, served.caller, served.network)
    with pytest.raises((NotFound, NotReady)):
        create(served, "late")
    assert not Instance.objects.filter(name="late").exists()


def test_989_a_network_waits_for_guests_that_are_still_being_made(served):
    instance = create(served)
    served.ask(network_delete.request, served.caller, served.network)
    served.settle()
    assert Instance.objects.get(pk=instance.pk).state == "created"
    assert Network.objects.get(pk=served.network.pk).state == "delete-wait"
    assert served.findings() == []


def test_4059_1686_a_guest_is_replaced_at_its_fixed_address_at_once(served):
    fixed = NewInterface(network="net", address="10.0.0.77")
    one = create(served, "one", fixed)
    served.settle()
    delete(served, one)
    served.settle()
    two = create(served, "two", fixed)
    served.settle()
    assert (Instance.objects.get(pk=two.pk).state, cards_of(two)[0].address) == ("created", "10.0.0.77")
    (router,) = routers(served).values()
    assert [(host["name"], host["address"]) for host in router["hosts"]] == [("two", "10.0.0.77")]


def test_535_two_cards_never_have_one_mac(served):
    create(served, "one", NewInterface(network="net", mac="02:00:00:11:22:33"))
    with pytest.raises(Conflict, match="02:00:00:11:22:33"):
        create(served, "two", NewInterface(network="net", mac="02:00:00:11:22:33"))
    assert not Instance.objects.filter(name="two").exists()
    assert PoolAllocation.objects.filter(pool_name="mac").count() == 1


def test_770_783_a_card_without_an_address_is_no_host_and_does_not_float(served):
    instance = create(served, "quiet", NewInterface(network="net", no_address=True))
    served.settle()
    (card,) = cards_of(instance)
    assert card.address is None
    (router,) = routers(served).values()
    assert router["hosts"] == [] and router["floating"] == []
    with pytest.raises((Conflict, Invalid)):
        served.ask(address_expose.request_float, served.caller, card)


def test_859_no_node_is_its_own_peer(served):
    for name in ("one", "two", "three", "four"):
        create(served, name)
    served.settle()
    for node in served.nodes:
        for spec in node.host.specs("networks").values():
            assert node.address not in spec["peers"]
    assert served.findings() == []


def test_256_944_2089_an_outside_address_goes_with_what_it_was_for(served):
    instance = create(served, "guest", NewInterface(network="net", floating=True))
    served.settle()
    assert cards_of(instance)[0].floating is not None
    delete(served, instance)
    served.settle()
    kinds = set(Address.objects.filter(network=FLOATING).values_list("kind", flat=True))
    assert "floating" not in kinds and "deletion-halo" in kinds
    (router,) = routers(served).values()
    assert router["floating"] == []


def test_3378_a_float_that_goes_leaves_nothing_in_the_router(served):
    instance = create(served, "guest", NewInterface(network="net", floating=True))
    served.settle()
    (router,) = routers(served).values()
    assert [entry["target"] for entry in router["floating"]] == [cards_of(instance)[0].address]
    served.ask(interface_unplug.request, served.caller, cards_of(instance)[0])
    served.settle()
    (router,) = routers(served).values()
    assert router["floating"] == [] and router["hosts"] == []


def test_689_floats_come_back_with_a_router_that_is_made_again(served):
    create(served, "guest", NewInterface(network="net", floating=True))
    served.settle()
    before = {network: spec["floating"] for network, spec in routers(served).items()}
    carrier = next(node for node in served.nodes if node.host.inventory().routers)
    carrier.host.power_cut()
    for _ in range(3):
        served.run(carrier.report, with_inventory=True)
        served.run(node_objects.run)
        served.settle()
    assert {network: spec["floating"] for network, spec in routers(served).items()} == before
    assert before and all(before.values())


def test_two_operations_on_one_network_of_one_node_come_one_after_the_other(served):
    one, two = create(served, "one"), create(served, "two")
    for _ in range(3):
        running = Operation.objects.filter(object_key__startswith=f"network:{served.network.pk}@", state="running")
        assert len({row.running_key for row in running}) == running.count()
        served.settle(rounds=1)
    served.settle()
    assert {Instance.objects.get(pk=row.pk).state for row in (one, two)} == {"created"}


def test_a_crash_between_row_and_kernel_is_made_good(served):
    """Both ways: what the rows wish comes, what they do not wish goes."""
    instance = create(served)
    served.settle()
    home = next(node for node in served.nodes if node.pk == Instance.objects.get(pk=instance.pk).node_id)
    home.host.remove_network(str(served.network.pk), served.network.vni)
    for _ in range(3):
        served.run(home.report, with_inventory=True)
        served.run(node_objects.run)
        served.settle()
    assert str(served.network.pk) in home.host.inventory().networks
    assert served.findings() == []


def test_730_a_resolver_that_does_not_answer_is_tried_again_and_then_told(served):
    carrier = next(node for node in served.nodes if node.host.inventory().routers)
    carrier.host.fail_next("ensure_router", Retry("resolver.silent", "no answer to a DHCP question"), times=2)
    instance = create(served)
    served.settle()
    assert Instance.objects.get(pk=instance.pk).state == "created"
    router = Operation.objects.filter(kind="router_on_node").order_by("-created_at").first()
    assert router.state == "succeeded"


def test_3631_an_operation_that_lost_a_deadlock_is_asked_for_again(served, monkeypatch):
    genuine, lost = engine.insert_unless_taken, []

    def deadlock(row):
        if not lost:
            lost.append(row)
            raise OperationalError(1213, "Deadlock found when trying to get lock")
        return genuine(row)

    monkeypatch.setattr(engine, "insert_unless_taken", deadlock)
    instance = create(served)
    served.settle()
    assert lost and not Operation.objects.filter(pk=lost[0].pk).exists()
    assert Instance.objects.get(pk=instance.pk).state == "created"


def test_a_carrier_is_the_only_node_that_gets_its_routers_work(served):
    create(served)
    served.settle()
    carrier = served.network.carrier.node_id
    assert set(NodeObject.objects.filter(object_type="router").values_list("node_id", flat=True)) == {carrier}


def test_a_float_pool_that_is_empty_harms_nobody_else(served):
    fresh = [row.value for row in Address.objects.filter(network=FLOATING)]
    outside = Network.objects.get(pk=FLOATING)
    first = 0xC6130000
    Address.objects.bulk_create(
        [
            Address(network=outside, value=first + n, kind="floating", owner_type="test")
            for n in range(256)
            if first + n not in fresh
        ]
    )
    with pytest.raises(NoCapacity):
        served.ask(network_create.request, served.caller, new_network("more"))
    assert not Network.objects.filter(name="more").exists()
    instance = create(served)
    served.settle()
    assert Instance.objects.get(pk=instance.pk).state == "created"

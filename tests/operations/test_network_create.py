"""network_create: decided in the request, created once its carrier serves it."""

import pytest

from sftasks.operations import network_create
from sfweb.errors import Invalid, NoCapacity, NotFound
from sfweb.models import Address, CarrierLease, Network, Node, Operation
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step
from tests.factories import new_network


def create(cluster, **more):
    return cluster.ask(network_create.request, cluster.caller, new_network(**more))


def test_the_network_is_created_and_served_by_one_carrier(make_bare):
    cluster = make_bare()
    accepted = create(cluster)
    assert accepted.row.state == "initial"
    cluster.settle()
    network = Network.objects.get(pk=accepted.row.pk)
    assert network.state == "created"
    assert sorted(len(node.host.inventory().routers) for node in cluster.nodes) == [0, 1]
    assert cluster.findings() == []


def test_ip_1_the_three_rows_of_every_network_and_its_egress_address(make_bare):
    network = create(make_bare()).row
    rows = Address.objects.filter(network=network).order_by("value").values_list("kind", flat=True)
    assert list(rows) == ["network", "gateway", "broadcast"]
    assert Address.objects.filter(owner_uuid=network.pk, kind="gateway").count() == 2
    assert network.floating_gateway.startswith("198.19.0.")


def test_cm_6_carriers_are_chosen_by_load(make_bare):
    cluster = make_bare()
    for number in range(6):
        create(cluster, name=f"net{number}")
    carried = [CarrierLease.objects.filter(node_id=node.pk).count() for node in cluster.nodes]
    assert carried == [3, 3]


def test_cm_5_without_an_eligible_carrier_the_network_is_created_without_services(make_bare):
    cluster = make_bare()
    Node.objects.update(carrier_eligible=False)
    accepted = create(cluster)
    cluster.settle()
    assert Network.objects.get(pk=accepted.row.pk).state == "created"
    assert cluster.findings() == []


def test_refusals_leave_nothing(make_bare):
    cluster = make_bare()
    before = (Network.objects.count(), Address.objects.count(), Operation.objects.count())
    with pytest.raises(Invalid, match="overlaps"):
        create(cluster, netblock="198.19.0.128/25")
    with pytest.raises(NotFound):
        create(cluster, namespace="nobody")
    assert (Network.objects.count(), Address.objects.count(), Operation.objects.count()) == before


def test_fl_1_no_outside_address_left_is_said_and_leaves_nothing(make_bare):
    cluster = make_bare()
    from sfweb.models import FLOATING

    Network.objects.filter(pk=FLOATING).update(netblock="198.19.0.0/29")
    for number in range(5):
        create(cluster, name=f"net{number}", netblock="10.1.0.0/24")
    with pytest.raises(NoCapacity):
        create(cluster, name="one-too-many", netblock="10.1.0.0/24")
    assert not Network.objects.filter(name="one-too-many").exists()


def test_repeats_are_harmless(make_bare):
    assert repeats_are_harmless(make_bare(), create).state == "succeeded"


def test_unwinds_from_every_step(make_bare):
    assert unwinds_from_every_step(make_bare, create) == ["ensure_network", "ensure_router"]


def test_repeated_undo_is_harmless(make_bare):
    assert repeated_undo_is_harmless(make_bare(), create, "ensure_router").state == "cancelled"

"""DHCP leases as rows: the carrier's own, well formed, and nothing else (CM-10, SE-4)."""

import time
import uuid

import pytest

from sfweb.domain import dhcp
from sfweb.models import CarrierLease, DhcpLease, Namespace, Network, Node
from sfweb.models.fields import FromNow


@pytest.fixture
def carried(db):
    namespace = Namespace.objects.create(name="tenant")
    node = Node.objects.create(name="node1")
    networks = [
        Network.objects.create(namespace=namespace, name=name, netblock="10.0.0.0/24", vni=vni)
        for vni, name in enumerate(("mine", "others"), start=1)
    ]
    CarrierLease.objects.create(network=networks[0], node=node)
    return node, *networks


def claim(network, **more):
    values = {"mac": "02:00:00:00:00:01", "address": "10.0.0.5", "name": "guest", "expires": int(time.time()) + 3600}
    return {**values, "network": str(network.pk), **more}


def test_cm_10_a_lease_is_stored_once_and_follows_its_renewal(carried):
    node, mine, _ = carried
    assert dhcp.take_leases(node, [claim(mine)]) == 1
    assert dhcp.take_leases(node, [claim(mine, address="10.0.0.6")]) == 1
    row = DhcpLease.objects.get()
    assert (row.address, row.hostname) == ("10.0.0.6", "guest")


def test_cm_10_an_expired_lease_goes(carried):
    node, mine, _ = carried
    dhcp.take_leases(node, [claim(mine)])
    DhcpLease.objects.update(expires_at=FromNow(-5))
    dhcp.take_leases(node, [])
    assert not DhcpLease.objects.exists()


def test_se_4_leases_of_networks_that_the_node_does_not_carry_are_left_out(carried):
    node, _, others = carried
    assert dhcp.take_leases(node, [claim(others)]) == 0
    assert not DhcpLease.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"mac": "not a mac"},
        {"address": "10.0.0.999"},
        {"expires": "soon"},
        {"expires": 10**30},
        {"name": "x\ny"},
        {"network": "nothing"},
        {"network": str(uuid.uuid4())},
    ],
)
def test_a_malformed_lease_is_left_out_and_the_others_are_taken(carried, wrong):
    node, mine, _ = carried
    assert (
        dhcp.take_leases(node, [{**claim(mine), **wrong}, claim(mine, mac="02:00:00:00:00:02"), "nonsense", None]) == 1
    )

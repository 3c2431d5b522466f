"""router_on_node: the carrier's services, from the rows of interfaces, entries and lease."""

import uuid

from sftasks import engine
from sftasks.operation import Accepted
from sftasks.operations import network_delete
from sftasks.plans import routers
from sfweb.domain.transactions import durable
from sfweb.models import CarrierLease, DnsEntry, Event, Interface, Network, Node, NodeObject
from tests.cluster import repeats_are_harmless


def serve(cluster):
    carrier = CarrierLease.objects.get(network=cluster.network).node_id
    wish = routers.on_carrier(cluster.network, carrier, cluster.caller)
    return Accepted(cluster.network, cluster.run(durable(lambda: engine.submit(wish))))


def rendered(cluster):
    carrier = CarrierLease.objects.get(network=cluster.network).node_id
    return routers.OBJECT.requests["ensure_router"](cluster.network.pk, carrier, {})["spec"]


def test_dhcp_hosts_are_the_living_interfaces(guest):
    card = Interface.objects.get(instance=guest.instance)
    assert rendered(guest)["hosts"] == [{"mac": card.mac, "address": card.address, "name": "guest"}]


def test_dn_1_names_are_the_guests_and_the_hosted_entries(guest):
    DnsEntry.objects.create(network=guest.network, name="www", address="10.0.0.77")
    assert [record["name"] for record in rendered(guest)["records"]] == ["guest", "www"]


def test_hp_4_a_network_without_nat_has_no_egress(guest):
    assert rendered(guest)["egress"]["address"] == guest.network.floating_gateway
    Network.objects.filter(pk=guest.network.pk).update(floating_gateway=None, provide_nat=False)
    assert rendered(guest)["egress"] is None
    assert rendered(guest)["upstream"] == []


def test_en_11_the_lease_is_in_the_request_and_renewed_by_each_report(guest):
    lease = rendered(guest)["lease"]
    assert (lease["epoch"], lease["rivals"]) == (1, True)
    assert 0 < lease["seconds"] <= 60
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    answer = guest.run(carrier.report)
    assert [(str(guest.network.pk), True)] == [(renewal.network, renewal.rivals) for renewal in answer.leases]


def test_only_the_holder_of_the_lease_is_rendered(guest):
    other = next(node for node in guest.nodes if not node.host.inventory().routers)
    assert routers.OBJECT.requests["ensure_router"](guest.network.pk, other.pk, {}) is None


def test_repeats_are_harmless(served):
    assert repeats_are_harmless(served, serve).state == "succeeded"


def test_en_11_who_has_no_rival_is_told_so_though_he_may_carry_no_new_network(guest):
    """Another node can take over exactly when there is another."""
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    Node.objects.filter(pk=carrier.pk).update(carrier_eligible=False)
    (renewal,) = guest.run(carrier.report).leases
    assert renewal.rivals
    Node.objects.exclude(pk=carrier.pk).update(state="missing")
    (renewal,) = guest.run(carrier.report).leases
    assert not renewal.rivals


def test_en_11_en_12_no_lease_is_renewed_for_another_journal_or_while_residues_are_left(guest):
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    Node.objects.filter(pk=carrier.pk).update(state="missing")
    NodeObject.objects.create(node_id=carrier.pk, object_type="instance", object_uuid=uuid.uuid4(), wanted="absent")
    assert guest.run(carrier.report).leases == ()
    NodeObject.objects.filter(node_id=carrier.pk, wanted="absent").delete()
    assert len(guest.run(carrier.report).leases) == 1
    (carrier.directory / "journal.sqlite").unlink()
    carrier.restart()
    assert guest.run(carrier.report).leases == ()


def test_en_11_a_router_that_is_being_taken_away_is_not_renewed_and_one_in_error_is(served):
    carrier = next(node for node in served.nodes if node.host.inventory().routers)
    Network.objects.filter(pk=served.network.pk).update(state="error")
    assert len(served.run(carrier.report).leases) == 1
    served.ask(network_delete.request, served.caller, Network.objects.get(pk=served.network.pk))
    assert served.run(carrier.report).leases == ()


def test_fl_7_dn_6_a_damaged_router_is_made_again_within_one_inventory(guest):
    """A healthy network's router too is held against what was made; what differs is told, and repaired from the rows."""
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    carrier.host.damaged[str(guest.network.pk)] = "rules, routes or devices are not as they were made"
    guest.run(carrier.report, with_inventory=True)
    guest.settle()
    assert carrier.host.damaged == {}
    assert Event.objects.filter(message="router is damaged").exists()
    assert Event.objects.filter(message="drift: router is not as it should be").exists()
    assert guest.findings() == []

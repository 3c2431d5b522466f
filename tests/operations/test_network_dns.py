"""network_dns: a hosted name is in the rows and then in the resolver; one that could not be told is as it was."""

import pytest

from nodeagent.host import Refused
from sftasks.operations import network_create, network_dns
from sfweb.errors import NoCapacity, NotFound, NotReady
from sfweb.models import DnsEntry, Network, Operation
from tests.cluster import repeats_are_harmless
from tests.factories import new_network


@pytest.fixture
def named(make_bare):
    made = make_bare()
    made.network = made.ask(network_create.request, made.caller, new_network(provide_dns=True)).row
    made.settle()
    return made


def write(cluster, name="www", address="198.19.0.9"):
    return cluster.ask(network_dns.request, cluster.caller, cluster.network, name, address)


def records(cluster):
    carrier = next(node for node in cluster.nodes if node.host.inventory().routers)
    with carrier.host._held("look") as held:
        found = held["routers"][str(cluster.network.pk)]["records"]
    return {record["name"]: record["address"] for record in found}


def test_dn_1_dn_2_an_entry_is_written_changed_and_taken_away(named):
    for address in ("198.19.0.9", "198.19.0.10"):
        write(named, "www", address)
        named.settle()
        assert records(named) == {"www": address}
    write(named, "www", None)
    named.settle()
    assert records(named) == {}
    assert named.findings() == []


def test_dn_2_an_absent_name_and_a_network_without_dns_are_refused(named):
    with pytest.raises(NotFound):
        write(named, "nobody", None)
    Network.objects.filter(pk=named.network.pk).update(provide_dns=False)
    with pytest.raises(NotReady) as refused:
        write(named)
    assert refused.value.code == "network.no_dns"
    Network.objects.filter(pk=named.network.pk).update(provide_dns=True, state="delete-wait")
    with pytest.raises(NotReady):
        write(named)
    assert not DnsEntry.objects.exists()


@pytest.mark.parametrize(
    ("before", "wanted"), [(None, "198.19.0.9"), ("198.19.0.8", "198.19.0.9"), ("198.19.0.8", None)]
)
def test_dn_2_what_the_resolver_was_not_told_is_as_it_was(named, before, wanted):
    if before:
        write(named, "www", before)
        named.settle()
    carrier = next(node for node in named.nodes if node.host.inventory().routers)
    carrier.host.fail_next("ensure_router", Refused("router.no_egress"))
    made = write(named, "www", wanted)
    named.settle()
    assert Operation.objects.get(pk=made.operation.pk).state == "cancelled"
    assert records(named) == ({"www": before} if before else {})
    assert named.findings() == []


def test_dn_2_a_network_has_only_so_many_names(named, monkeypatch):
    monkeypatch.setattr(network_dns, "MAX_ENTRIES", 1)
    write(named)
    with pytest.raises(NoCapacity):
        write(named, "more")
    write(named, "www", "198.19.0.11")


def test_repeats_are_harmless(named):
    assert repeats_are_harmless(named, write).state == "succeeded"

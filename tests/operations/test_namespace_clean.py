"""namespace_clean: instances, then networks, then artifacts, as they were when it was asked for (AR-15)."""

import pytest

from sftasks import engine
from sftasks.operations import instance_create, namespace_clean, network_create
from sftasks.reconcilers import namespace_cleans
from sfweb.domain.callers import CLUSTER
from sfweb.errors import Invalid
from sfweb.models import FLOATING, Artifact, Instance, Namespace, Network, Operation, Upload
from sfweb.models.state import OPEN_OPERATION, State
from tests.cluster import repeats_are_harmless
from tests.factories import make_namespace, new_instance, new_network


def clean(cluster):
    return cluster.ask(namespace_clean.request, cluster.caller, Namespace.objects.get(name="tenant"))


def left(model, name="tenant"):
    return model.objects.filter(namespace__name=name).exclude(state=State.DELETED).count()


def go_on(cluster, rounds=8):
    """The clock runs the reconciler, and the cluster does what it asked for."""
    seen = []
    for _ in range(rounds):
        cluster.run(namespace_cleans.run)
        cluster.settle(rounds=10)
        seen.append(tuple(left(model) for model in (Instance, Network, Artifact)))
        if not Operation.objects.filter(kind="namespace_clean", state__in=OPEN_OPERATION).exists():
            return seen
    raise AssertionError(f"the namespace is not empty: {seen}")


def test_ar_15_instances_go_first_then_networks_then_artifacts(guest):
    guest.ask(instance_create.request, guest.caller, new_instance("second", "tenant", "net"))
    guest.settle()
    accepted = clean(guest)
    assert namespace_clean.ready(accepted.operation) == "2 instances, 1 networks, 1 artifacts are still there"
    assert go_on(guest) == [(0, 1, 1), (0, 0, 1), (0, 0, 0)]
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"
    assert guest.findings() == []
    assert all(not node.host.inventory().networks for node in guest.nodes)


def test_ar_15_what_others_have_and_what_comes_later_stays(guest):
    other = make_namespace("other")
    guest.ask(network_create.request, other, new_network("theirs", "other"))
    shared = Artifact.objects.create(
        namespace=Namespace.objects.get(name="other"), name="all", source_url="http://e/x", state="created", shared=True
    )
    guest.settle()
    clean(guest)
    guest.ask(network_create.request, guest.caller, new_network("later"))
    go_on(guest)
    assert Network.objects.get(name="later").state == "created"
    assert Network.objects.get(name="theirs").state == "created"
    assert Artifact.objects.get(pk=shared.pk).state == "created"


def test_ar_15_asked_again_it_is_the_same_operation_until_something_new_has_come(guest):
    first = clean(guest)
    assert clean(guest).operation.pk == first.operation.pk
    guest.run(namespace_cleans.run)
    assert clean(guest).operation.pk == first.operation.pk
    guest.ask(network_create.request, guest.caller, new_network("later"))
    second = clean(guest)
    assert second.operation.pk != first.operation.pk
    go_on(guest)
    assert {row.state for row in Operation.objects.filter(kind="namespace_clean")} == {"succeeded"}
    assert left(Network) == 0


def test_an_empty_namespace_is_clean_at_once(guest):
    clean(guest)
    go_on(guest)
    accepted = clean(guest)
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"


def test_ar_15_system_wants_to_be_asked_and_keeps_the_outside_network(guest):
    system = Namespace.objects.get(name="system")
    with pytest.raises(Invalid, match="confirm"):
        guest.ask(namespace_clean.request, CLUSTER, system)
    assert not Operation.objects.filter(kind="namespace_clean").exists()
    guest.ask(network_create.request, make_namespace("system"), new_network("ours", "system"))
    guest.settle()
    guest.run(lambda: namespace_clean.request(CLUSTER, system, confirmed=True))
    go_on(guest)
    assert left(Network, "system") == 1
    assert Network.objects.get(pk=FLOATING).state == "created"
    assert left(Instance) == 1, "that of another namespace"


def test_a_cancelled_one_asks_for_nothing_more(guest):
    accepted = clean(guest)
    guest.run(namespace_cleans.run)
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    guest.settle()
    assert guest.run(namespace_cleans.run) == {"asked": 0}
    assert (left(Instance), left(Network), left(Artifact)) == (0, 1, 1), "what was asked for is done"


def test_repeats_are_harmless(guest):
    def scenario(cluster):
        accepted = clean(cluster)
        for _ in range(2):
            cluster.run(namespace_cleans.run)
        return accepted

    repeats_are_harmless(guest, scenario)
    go_on(guest)
    assert (left(Instance), left(Network), left(Artifact)) == (0, 0, 0)


def test_an_upload_that_nobody_published_ends_too_and_a_later_one_stays(guest):
    tenant = Namespace.objects.get(name="tenant")
    old = Upload.objects.create(namespace=tenant, node=guest.home.row, size=5)
    clean(guest)
    new = Upload.objects.create(namespace=tenant, node=guest.home.row, size=5)
    go_on(guest)
    assert Upload.objects.get(pk=old.pk).state == State.DELETED
    assert Upload.objects.get(pk=new.pk).state == State.CREATED

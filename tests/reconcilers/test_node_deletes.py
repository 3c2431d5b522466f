"""node_deletes: a node that goes with all that it has; its instances first, each by its own operation."""

import pytest

from sftasks import engine, explain, parents, sweep
from sftasks.operations import instance_create, instance_delete, instance_migrate, node_delete
from sftasks.reconcilers import node_deletes
from sfweb.domain import node_life, nodes
from sfweb.errors import Conflict, NoCapacity
from sfweb.models import (
    CarrierLease,
    Instance,
    Node,
    NodeObject,
    Operation,
    PlacementReservation,
    PoolAllocation,
)
from sfweb.models.fields import FromNow
from sfweb.models.state import State
from tests.factories import new_instance


@pytest.fixture
def full(served):
    """Two guests on `home`, which carries nothing."""
    carrier = CarrierLease.objects.get().node_id
    served.home = next(node for node in served.nodes if node.pk != carrier)
    for name in ("one", "two"):
        served.ask(
            instance_create.request, served.caller, new_instance(name, "tenant", "net", placed_on=served.home.name)
        )
    served.settle()
    return served


def delete(cluster, cascade=True):
    return cluster.ask(node_delete.request, cluster.caller, cluster.home.row, cascade).operation


def settle(cluster):
    Operation.objects.filter(kind="node_delete").update(created_at=FromNow(-60))  # old enough for the sweep
    for _ in range(3):
        cluster.run(node_deletes.run)
        cluster.settle(rounds=10)


def test_without_being_asked_for_it_what_is_there_is_listed_and_nothing_happens(full):
    with pytest.raises(Conflict) as caught:
        delete(full, cascade=False)
    details = caught.value.details
    assert (details["instances"], [row["name"] for row in details["on_it"]["instances"]]) == (2, ["one", "two"])
    assert full.home.row.state == "created" and not full.home.row.cordoned
    assert not Operation.objects.filter(kind="node_delete").exists()


def test_its_instances_go_and_then_the_node(full):
    operation = delete(full)
    assert full.home.row.cordoned
    assert explain.why(operation)["sentence"].startswith("2 instances are still there")
    assert full.run(node_deletes.run) == {"asked": 2}
    assert full.run(node_deletes.run) == {"asked": 0}
    assert explain.why(operation)["waits_for"] == "dependency"
    with pytest.raises(NoCapacity):
        full.ask(instance_create.request, full.caller, new_instance("late", "tenant", placed_on=full.home.name))
    settle(full)
    assert Operation.objects.get(pk=operation.pk).state == "succeeded"
    assert set(Instance.objects.values_list("state", flat=True)) == {"deleted"}
    assert full.home.row.state == "deleted"
    there = full.home.host.inventory()
    assert not there.networks and not there.instances
    assert not NodeObject.objects.filter(node_id=full.home.pk).exists()
    assert set(PlacementReservation.objects.values_list("state", flat=True)) == {"released"}
    assert not PoolAllocation.objects.filter(owner_type="instance").exists()


def test_progress_is_told(full, monkeypatch):
    operation = delete(full)
    monkeypatch.setattr(parents, "PAGE", 1)
    full.run(node_deletes.run)
    full.settle(rounds=4)
    full.run(node_deletes.run)
    assert Operation.objects.get(pk=operation.pk).progress == 50


def test_repeated_it_is_the_same_operation(full):
    first = delete(full)
    assert delete(full).pk == first.pk
    settle(full)
    assert full.home.row.state == "deleted"


def test_repeated_it_still_belongs_to_who_asked_and_can_be_cancelled(full):
    operation = delete(full)
    delete(full)
    full.run(engine.cancel, operation.pk, full.caller)
    assert Operation.objects.get(pk=operation.pk).state == "cancelled"
    assert full.home.row.state == "created" and full.home.row.cordoned


def test_nothing_new_is_let_onto_a_node_that_goes(full):
    """It would be deleted with the rest, though nobody asked for that."""
    operation = delete(full)
    with pytest.raises(Conflict) as caught:
        full.run(nodes.cordon, full.caller, full.home.row, False)
    assert (caught.value.code, caught.value.details) == ("node.deleting", {"operation": str(operation.pk)})
    assert full.home.row.cordoned
    full.run(engine.cancel, operation.pk, full.caller)
    full.run(nodes.cordon, full.caller, full.home.row, False)
    assert not full.home.row.cordoned


def test_a_missing_node_goes_and_what_it_held_is_given_up(full):
    Node.objects.filter(pk=full.home.pk).update(last_seen=FromNow(-3600))
    full.run(node_life.mark_missing, lambda: None)
    full.nodes.remove(full.home)
    operation = delete(full)
    for _ in range(4):
        full.run(node_deletes.run)
        full.run(sweep.sweep)
        full.settle(rounds=5)
    assert Operation.objects.get(pk=operation.pk).state == "succeeded"
    assert full.home.row.state == "deleted"
    assert set(Instance.objects.values_list("state", flat=True)) == {"deleted"}
    assert not PoolAllocation.objects.filter(owner_type="instance").exists(), "nobody waits for its confirmation"
    assert full.findings() == []


def test_a_node_that_carries_networks_or_expects_a_guest_is_refused_all_the_same(full):
    carrier = next(node for node in full.nodes if node is not full.home)
    with pytest.raises(Conflict, match="carries 1 networks") as caught:
        full.ask(node_delete.request, full.caller, carrier.row, True)
    assert [row["name"] for row in caught.value.details["on_it"]["networks"]] == ["net"]
    Node.objects.filter(pk=carrier.pk).update(state="missing")
    with pytest.raises(Conflict, match="carries 1 networks"):
        full.ask(node_delete.request, full.caller, carrier.row, True)
    Node.objects.filter(pk=carrier.pk).update(state="created")
    CarrierLease.objects.update(node=None)
    moving = Instance.objects.get(name="one")
    full.ask(instance_migrate.request, full.caller, moving, carrier.name, None)
    with pytest.raises(Conflict, match="1 instances are on their way"):
        full.ask(node_delete.request, full.caller, carrier.row, True)


def test_one_that_cannot_be_deleted_ends_it_with_the_cause_and_the_node_stays(full):
    operation = delete(full)
    full.home.host.fail_next("stop_domain", RuntimeError("stuck"), times=9)
    settle(full)
    ended = Operation.objects.get(pk=operation.pk)
    assert (ended.state, ended.error_code) == ("cancelled", "dependency.failed")
    assert full.home.row.state == "created" and full.home.row.cordoned


def test_a_delete_of_an_instance_that_nobody_waits_for_yet_is_found_again(full, monkeypatch):
    delete(full)
    with monkeypatch.context() as died:
        died.setattr(parents, "wait_for", lambda *_: None)
        full.run(node_deletes.run)
    assert full.run(node_deletes.run) == {"asked": 2}
    assert Operation.objects.filter(kind="instance_delete").count() == 2
    settle(full)
    assert Node.objects.get(pk=full.home.pk).state == State.DELETED


@pytest.mark.parametrize("meanwhile", ["cancelled", "moved"])
def test_what_changes_while_a_page_is_asked_for_counts(full, monkeypatch, meanwhile):
    operation, genuine = delete(full), instance_delete.request

    def request(caller, row):
        if meanwhile == "cancelled":
            engine.cancel(operation.pk, full.caller)
        else:
            other = next(node for node in full.nodes if node is not full.home)
            Instance.objects.exclude(pk=row.pk).update(node=other.pk)
        return genuine(caller, row)

    monkeypatch.setattr(instance_delete, "request", request)
    assert full.run(node_deletes.run) == {"asked": 1}
    assert Operation.objects.filter(kind="instance_delete").count() == 1

"""A start that a node refuses for a cause of its own is tried on another; the instance is never on two (SC-13, SC-14)."""

import pytest

from nodeagent.host import Refused
from sftasks import engine, explain, sweep
from sftasks.operations import instance_create, instance_delete, network_create
from sftasks.reconcilers import node_objects
from sfweb.domain import allocator, node_life
from sfweb.domain.allocator import Pool
from sfweb.models import (
    Artifact,
    ArtifactVersion,
    Blob,
    CarrierLease,
    Event,
    EventObject,
    Instance,
    Node,
    NodeCapacity,
    NodeObject,
    Operation,
    PlacementReservation,
    PoolAllocation,
    Step,
)
from sfweb.models.fields import FromNow
from tests.factories import new_instance, new_network

FULL = Refused("disk.full", "no space left")


@pytest.fixture
def wide(make_cluster, caller):
    """Four nodes and a network; node4 carries it."""
    made = make_cluster(4)
    made.caller = caller
    made.ask(network_create.request, caller, new_network())
    made.settle()
    CarrierLease.objects.update(node=made.nodes[3].pk)
    for _ in range(2):
        made.run(node_objects.run)
        made.settle()
    return made


def create(cluster, **more):
    accepted = cluster.ask(instance_create.request, cluster.caller, new_instance("guest", "tenant", "net", **more))
    home = next(node for node in cluster.nodes if node.pk == accepted.row.node_id)
    return accepted, home


def row_of(accepted):
    return Instance.objects.get(pk=accepted.row.pk)


def ended(accepted):
    return Operation.objects.get(pk=accepted.operation.pk)


def running(cluster, accepted):
    return [node.name for node in cluster.nodes if node.host.domain(str(accepted.row.pk)) is not None]


def told_on(accepted):
    uuids = EventObject.objects.filter(object_uuid=accepted.row.pk).values_list("event_uuid", flat=True)
    return {row.message: row.extra for row in Event.objects.filter(uuid__in=uuids)}


@pytest.mark.parametrize("code", ["disk.full", "memory.full", "node.unsupported"])
def test_a_start_that_a_node_refuses_is_made_on_another(wide, code):
    accepted, first = create(wide)
    first.host.fail_next("start_domain", Refused(code, "not here"))
    wide.settle()
    row = row_of(accepted)
    assert (ended(accepted).state, row.state, row.observed_power) == ("succeeded", "created", "on")
    assert row.node_id != first.pk and running(wide, accepted) == [row.node.name]
    reservation = PlacementReservation.objects.get(instance=row)
    assert (reservation.node_id, reservation.state) == (row.node_id, "consumed")
    assert NodeCapacity.objects.get(node=first.pk).used_cpus == 0
    assert PoolAllocation.objects.filter(owner_uuid=row.pk, pool_name__startswith="port/").count() == 2
    told = told_on(accepted)["instance_create goes to another node"]
    assert (told["node"], told["code"], told["message"]) == (first.name, code, "not here")
    why = explain.why(ended(accepted))
    assert why["refused"] == [{"node": first.name, "code": code, "message": "not here"}]
    assert wide.findings() == []


def test_where_no_two_ports_are_left_it_ends_and_what_was_taken_there_is_given_back(wide, monkeypatch):
    accepted, first = create(wide)
    first.host.fail_next("start_domain", FULL)
    policies = allocator.pool
    one_port = Pool(49999, 49999, lowest=True)
    monkeypatch.setattr(allocator, "pool", lambda name: one_port if name.startswith("port") else policies(name))
    wide.settle()
    row = row_of(accepted)
    assert (ended(accepted).state, row.state, row.node_id) == ("failed", "error", first.pk)
    assert "no free value in port" in explain.why(ended(accepted))["nowhere"]
    assert not NodeCapacity.objects.exclude(node=first.pk).filter(used_cpus__gt=0).exists()
    assert not PoolAllocation.objects.filter(value=49999).exists()
    assert wide.findings() == []


def test_a_blob_that_has_no_room_on_the_node_sends_the_instance_to_another(wide):
    accepted, first = create(wide)
    first.host.fail_next("fetch_blob", FULL)
    wide.settle()
    row = row_of(accepted)
    assert (row.state, ended(accepted).state) == ("created", "succeeded"), row.error_message
    assert row.node_id != first.pk
    assert (Artifact.objects.get().state, ArtifactVersion.objects.get().blob) == ("created", Blob.objects.get())
    assert not Step.objects.filter(operation=accepted.operation, node=first.pk).exists()
    assert wide.findings() == []


def on(cluster, name, node):
    """On that node as if it had been chosen, not asked for."""
    wanted = new_instance(name, "tenant", "net", placed_on=node.name)
    accepted = cluster.ask(instance_create.request, cluster.caller, wanted)
    Instance.objects.filter(pk=accepted.row.pk).update(requested_placement=None)
    return accepted


def test_an_image_that_the_first_node_had_no_room_for_is_fetched_by_those_that_waited_for_it(wide):
    made = [on(wide, node.name, node) for node in wide.nodes[:3]]
    wide.nodes[0].host.fail_next("fetch_blob", FULL)
    wide.settle()
    assert [row_of(each).state for each in made] == ["created"] * 3, [row_of(each).error_message for each in made]
    assert [row_of(each).node_id for each in made[1:]] == [node.pk for node in wide.nodes[1:3]]
    artifact = Artifact.objects.get()
    assert (artifact.state, artifact.versions.get().blob) == ("created", Blob.objects.get())
    assert wide.findings() == []


def test_an_image_that_no_node_can_fetch_ends_them_all(wide):
    made = [on(wide, node.name, node) for node in wide.nodes[:3]]
    for node in wide.nodes:
        node.host.fail_next("fetch_blob", FULL, times=9)
    wide.settle()
    assert [row_of(each).state for each in made] == ["error"] * 3
    assert (Artifact.objects.get().state, Blob.objects.get().state) == ("error", "error")
    assert wide.findings() == []


def test_two_more_nodes_are_tried_and_then_it_is_in_error_with_every_reason(wide):
    accepted, _ = create(wide)
    for node in wide.nodes:
        node.host.fail_next("start_domain", FULL, times=9)
    wide.settle()
    row = row_of(accepted)
    assert (row.state, ended(accepted).state, ended(accepted).error_code) == ("error", "failed", "disk.full")
    assert row.error_message == "disk.full: no space left; 3 nodes have refused it"
    assert len(explain.why(ended(accepted))["refused"]) == 3
    assert set(NodeCapacity.objects.values_list("used_cpus", flat=True)) == {0}
    assert not PoolAllocation.objects.filter(owner_uuid=row.pk).exists()
    assert wide.findings() == []


def test_where_no_other_has_room_it_fails_and_says_so_of_each_node(served):
    accepted, first = create(served)
    other = next(node for node in served.nodes if node is not first)
    NodeCapacity.objects.filter(node_id=other.pk).update(limit_cpus=0)
    first.host.fail_next("start_domain", FULL)
    served.settle()
    row = row_of(accepted)
    assert row.state == "error"
    assert f"{other.name} sufficient_idle_cpu" in row.error_message
    assert f"{first.name} start_refused" in row.error_message
    nodes = told_on(accepted)["no other node takes it"]["nodes"]
    assert {node["node"]: node.get("cause") for node in nodes}[first.name] == "disk.full: no space left"
    assert next(node for node in nodes if node["node"] == other.name)["dimensions"]["cpus"]["exceeded"]
    assert NodeCapacity.objects.get(node=first.pk).used_cpus == 0
    assert served.findings() == []


def test_sc_13_a_forced_placement_goes_nowhere_else(wide):
    accepted, first = create(wide, placed_on="node2")
    first.host.fail_next("start_domain", FULL)
    wide.settle()
    assert (row_of(accepted).state, row_of(accepted).node_id) == ("error", first.pk)
    assert wide.findings() == []


@pytest.mark.parametrize("code", ["instance.unsupported", "device.refused", "blob.unsafe", "disk.conflict"])
def test_what_lies_in_the_request_is_not_tried_again(wide, code):
    accepted, first = create(wide)
    first.host.fail_next("start_domain", Refused(code, "never"))
    wide.settle()
    assert (row_of(accepted).state, row_of(accepted).node_id) == ("error", first.pk)
    assert "refused" not in ended(accepted).params


def vanish(cluster, node):
    Node.objects.filter(pk=node.pk).update(last_seen=FromNow(-3600))
    cluster.run(node_life.mark_missing, lambda: None)
    cluster.nodes.remove(node)
    cluster.run(sweep.sweep)
    cluster.settle()


def test_a_node_that_goes_missing_before_it_was_asked_to_start_the_guest_is_left(wide):
    Node.objects.filter(pk=wide.nodes[3].pk).update(cordoned=True)  # without the carrier no guest of it starts anywhere
    accepted, first = create(wide)
    wide.nodes.remove(first)
    for _ in range(3):
        for node in wide.nodes:
            wide.run(node.work), wide.run(node.tell)
    wide.nodes.append(first)
    vanish(wide, first)
    row = row_of(accepted)
    assert (row.state, ended(accepted).state) == ("created", "succeeded"), row.error_message
    assert row.node_id != first.pk
    assert [node.name for node in wide.nodes if node.host.domain(str(row.pk))] == [row.node.name]


def test_en_12_one_that_may_have_started_it_unheard_keeps_it(wide):
    accepted, first = create(wide)
    until_sent(wide, accepted)
    vanish(wide, first)
    row = row_of(accepted)
    assert (row.state, row.node_id, ended(accepted).error_code) == ("error", first.pk, "node.missing")
    assert PlacementReservation.objects.get(instance=row).state == "claimed"


def until_sent(cluster, accepted):
    for _ in range(60):
        if Step.objects.filter(operation=accepted.operation, state="sent").exists():
            return
        for node in cluster.nodes:
            cluster.run(node.work)
            cluster.run(node.tell)
    raise AssertionError("never sent")


def refuse_once(cluster, accepted, first):
    """Until the first node has refused the start, and nothing after that has happened."""
    first.host.fail_next("start_domain", FULL)
    until_sent(cluster, accepted)
    cluster.run(first.work)


def test_en_6_a_process_that_dies_right_after_the_refusal_loses_nothing(wide, monkeypatch):
    accepted, first = create(wide)
    refuse_once(wide, accepted, first)
    with monkeypatch.context() as dead:
        dead.setattr(engine, "after_commit", lambda *args: None)
        wide.run(first.tell)
    assert ended(accepted).state == "waiting"
    assert row_of(accepted).node_id != first.pk, "place, wishes and room have changed in one transaction"
    assert PlacementReservation.objects.filter(instance=accepted.row).count() == 2
    Operation.objects.update(created_at=FromNow(-60))
    wide.settle()
    assert row_of(accepted).state == "created"
    assert wide.findings() == []


def test_en_3_a_refusal_that_comes_twice_places_it_once(wide):
    accepted, first = create(wide)
    wide.post = lambda message: [message] * 3
    for node in wide.nodes:
        node.copies = 2
    refuse_once(wide, accepted, first)
    wide.settle()
    assert len(ended(accepted).params["refused"]) == 1
    assert len(running(wide, accepted)) == 1
    assert wide.findings() == []


def test_the_next_node_begins_when_the_first_has_confirmed_that_nothing_is_left(wide):
    accepted, first = create(wide)
    refuse_once(wide, accepted, first)
    wide.run(first.tell)
    for _ in range(5):
        for node in wide.nodes:
            if node is not first:
                wide.run(node.work), wide.run(node.tell)
    assert running(wide, accepted) == []
    wide.settle()
    assert len(running(wide, accepted)) == 1


@pytest.mark.parametrize("end", [instance_delete.request, None])
def test_en_14_it_can_be_ended_while_it_waits_for_another_node(wide, end):
    accepted, first = create(wide)
    refuse_once(wide, accepted, first)
    wide.run(first.tell)
    if end:
        wide.ask(end, wide.caller, row_of(accepted))
    else:
        wide.run(engine.cancel, accepted.operation.pk, wide.caller)
    wide.settle()
    for _ in range(2):
        wide.run(node_objects.run)
        wide.settle()
    assert (row_of(accepted).state, ended(accepted).state) == ("deleted" if end else "error", "cancelled")
    assert set(NodeCapacity.objects.values_list("used_cpus", flat=True)) == {0}
    held = NodeObject.objects.filter(object_type="instance", wanted="present")
    assert not held.exists()
    assert wide.findings() == []


def test_en_12_a_delete_ends_when_the_node_that_refused_it_has_confirmed_too(wide):
    accepted, first = create(wide)
    refuse_once(wide, accepted, first)
    wide.run(first.tell)
    wide.ask(instance_delete.request, wide.caller, row_of(accepted))
    wide.settle()
    assert row_of(accepted).state == "deleted"
    held = NodeObject.objects.filter(object_type="instance", object_uuid=accepted.row.pk)
    assert not held.exclude(applied_wanted="absent").exists()
    assert not PlacementReservation.objects.filter(instance=accepted.row, state="claimed").exists()
    assert wide.findings() == []

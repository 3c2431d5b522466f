"""Batches against each other and against single creates, on the real database: all or none, exactly what fits (SC-30)."""

import os
import uuid

import pytest
from django.db import connection

from sftasks import celery
from sftasks.operations import instance_create
from sfweb.domain import capacity, claims
from sfweb.domain.placement_rules import DIMENSIONS, Room
from sfweb.domain.specs import NewDisk
from sfweb.errors import NoCapacity
from sfweb.models import Instance, Namespace, Node, NodeCapacity, PlacementReservation
from sfweb.models.fields import UtcNow
from tests.factories import make_namespace, new_instance
from tests.operations.test_engine_races import make_node, together

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]
ROUNDS = 1000 if os.environ.get("PROVE") else 50


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch):
    monkeypatch.setattr(celery, "ring", lambda messages: 0)


def callers(number):
    return [make_namespace(uuid.uuid4().hex[:8]) for _ in range(number)]


def batch(caller, number):
    wanted = [new_instance(f"i{n}", caller.namespace, disks=(NewDisk(size_gb=1),)) for n in range(number)]
    return len(instance_create.request_batch(caller, wanted).rows)


def empty():
    """As if nothing had been placed, and all nodes had just reported."""
    Node.objects.update(last_seen=UtcNow())
    NodeCapacity.objects.update(used_cpus=0, used_memory_mb=0, used_disk_gb=0)
    PlacementReservation.objects.update(state="released")


def assert_counted():
    for row in NodeCapacity.objects.all():
        live = PlacementReservation.objects.filter(node=row.node_id, state="claimed")
        assert row.used_cpus == sum(live.values_list("cpus", flat=True)) <= row.limit_cpus


def race_for_one_room():
    """Two batches of five on nodes with room for seven; what each came to."""
    pair = callers(2)
    results = together(2, lambda number: batch(pair[number], 5))
    made = [Instance.objects.filter(namespace=caller.namespace_uuid).count() for caller in pair]
    return results, made


@pytest.mark.timeout(900)
def test_sc_30_of_two_batches_for_one_room_exactly_one_is_placed_whole():
    make_node("node1", cpus=4)
    make_node("node2", cpus=3)
    for _ in range(ROUNDS):
        results, made = race_for_one_room()
        assert sorted(made) == [0, 5], results
        refused = next(result for result in results if result != 5)
        assert isinstance(refused, NoCapacity), refused
        assert refused.details["instances"]
        assert_counted()
        empty()


def take_without_guard(wanted):
    with connection.cursor() as cursor:
        for node, room in wanted.items():
            added = ", ".join(f"used_{name} = used_{name} + {getattr(room, name)}" for name in DIMENSIONS)
            cursor.execute(f"UPDATE node_capacity SET {added} WHERE node_id = %s", [str(node)])
    return True


def test_sc_30_without_the_guard_both_are(monkeypatch):
    monkeypatch.setattr(capacity, "take", take_without_guard)
    make_node("node1", cpus=4)
    make_node("node2", cpus=3)
    for _ in range(20):
        _, made = race_for_one_room()
        if made == [5, 5]:
            return
        empty()
    raise AssertionError("the race was never lost")


def test_sc_30_a_crowd_of_batches_and_single_creates_fills_nodes_and_no_more():
    """Ten batches of four and ten single creates on five nodes with room for thirty."""
    for number in range(5):
        make_node(f"node{number}", cpus=6)
    for _ in range(3):
        crowd = callers(20)
        results = together(20, lambda number: batch(crowd[number], 4 if number < 10 else 1))  # noqa: B023
        assert all(isinstance(result, int | NoCapacity) for result in results), results
        made = sorted(Instance.objects.filter(namespace=caller.namespace_uuid).count() for caller in crowd[:10])
        assert set(made) <= {0, 4}
        placed = sum(result for result in results if isinstance(result, int))
        assert 27 <= placed <= 30, "what is left is too little for a batch, and every single create had found it"
        assert_counted()
        empty()


def test_cl_2_cl_3_concurrent_creates_fill_a_claim_and_leave_it_whole():
    """Two nodes with room for twelve, four of it claimed: of eleven who have no claim eight come in, of six who have one four."""
    for number in range(2):
        make_node(f"node{number}", cpus=6)
    for _ in range(3):
        claimed, *others = callers(12)
        system = make_namespace("system")
        row = Namespace.objects.get(pk=claimed.namespace_uuid)
        claim = claims.make(system, row, Room(cpus=4, memory_mb=1024 + 500, disk_gb=100))
        crowd = [*others, *[claimed] * 6]
        results = together(17, lambda number: batch(crowd[number], 1))  # noqa: B023
        assert all(isinstance(result, int | NoCapacity | claims.ClaimExceeded) for result in results), results
        assert sum(result == 1 for result in results[:11]) == 8
        assert sum(result == 1 for result in results[11:]) == 4
        claim.refresh_from_db()
        assert claim.used_cpus == 4
        assert_counted()
        claims.delete(system, claim)
        empty()


def placed(caller, node):
    """One instance of a CPU on that node, by name."""
    wanted = new_instance("one", caller.namespace, disks=(NewDisk(size_gb=1),), placed_on=node)
    return instance_create.request(caller, wanted).row


def test_cl_3_a_claim_that_is_drawn_from_between_two_looks_is_left_whole():
    """Whoever has none must not miss what was drawn meanwhile both in what is used and in what is promised."""
    for number in range(4):
        make_node(f"node{number}", cpus=3)
    claimed, other = callers(2)
    row = Namespace.objects.get(pk=claimed.namespace_uuid)
    claims.make(make_namespace("system"), row, Room(cpus=4, memory_mb=4 * 256, disk_gb=4))
    for node in (0, 0, 0, 1, 1, 1, 2, 2):
        placed(other, f"node{node}")
    drawn = []

    def draw(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "FROM node_capacity JOIN nodes" in sql and not drawn:
            drawn.extend(together(1, lambda _: placed(claimed, "node3")))
        return result

    with connection.execute_wrapper(draw), pytest.raises(NoCapacity, match="claimed by other namespaces"):
        placed(other, "node2")
    assert [type(one) for one in drawn] == [Instance]
    assert_counted()


def test_cl_2_a_claim_made_while_others_create_is_kept():
    make_node("node1", cpus=8)
    for _ in range(5):
        claimed, *others = callers(9)
        row = Namespace.objects.get(pk=claimed.namespace_uuid)
        crowd = [claimed, *others]

        def one(number):
            if number == 0:
                return claims.make(crowd[0], row, Room(cpus=4, memory_mb=100, disk_gb=100))  # noqa: B023
            return batch(crowd[number], 1)  # noqa: B023

        results = together(9, one)
        placed = sum(result == 1 for result in results[1:])
        if isinstance(results[0], NoCapacity):
            assert placed == 8
        else:
            assert placed == 4, results
            claims.delete(claimed, results[0])
        empty()

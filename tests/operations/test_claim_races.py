"""P3: a crowd asks for more than there is room for; what it gets is counted from the rows."""

import os
import random
import uuid
from collections import Counter

import pytest

from sfweb.domain import capacity, placement, reservations
from sfweb.domain.placement_rules import Asked, Room
from sfweb.domain.transactions import durable
from sfweb.errors import NoCapacity
from sfweb.models import Instance, NodeCapacity, PlacementReservation
from tests.factories import make_namespace
from tests.operations.test_batch_races import empty, take_without_guard
from tests.operations.test_engine_races import make_node, together

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]
ROUNDS = 100 if os.environ.get("PROVE") else 5
NODES, EACH, CLIENTS, ASKED = 20, 10, 32, 300
ROOM = Room(cpus=1, memory_mb=1, disk_gb=1)


@durable
def claim(instance, node=None):
    """What a create does to place an instance: on that node, or on any."""
    asked = [Asked(room=ROOM, placed_on=node)]
    chosen = placement.place(asked)
    reservations.record({instance: chosen[0]}, asked)


def claimed(instance, node=None):
    """True when it has a place, False when there was no room; whatever else is raised is the caller's to see."""
    try:
        claim(instance, node)
    except NoCapacity:
        return False
    return True


def crowd(instances, nodes):
    """[(the node that was asked for, whether there was room)] of 32 clients that share the work."""
    left = iter(instances)
    told = []

    def client(number):
        for instance in left:
            node = random.choice(nodes)
            told.append((node, claimed(instance, node)))

    failed = [result for result in together(CLIENTS, client) if result is not None]
    assert not failed, failed
    return told


def make_instances(number):
    namespace = make_namespace(uuid.uuid4().hex[:8]).namespace_uuid
    rows = [Instance(namespace_id=namespace, name=f"i{at}", cpus=1, memory_mb=1) for at in range(number)]
    Instance.objects.bulk_create(rows)
    return [row.pk for row in rows]


def used_by_rows():
    """{node's name: how many places are taken}."""
    return Counter(PlacementReservation.objects.filter(state="claimed").values_list("node__name", flat=True))


def a_round(names, instances):
    """300 ask for a node at random, then 300 for any; how many were told that they have a place."""
    at_random = crowd(instances[:ASKED], names)
    used = used_by_rows()
    assert all(used[node] >= EACH for node, has in at_random if not has), "refused while a place was left there"
    anywhere = crowd(instances[ASKED:], [None])
    return sum(has for _, has in (*at_random, *anywhere))


def start():
    for number in range(NODES):
        make_node(f"node{number}", cpus=EACH)
    return [f"node{number}" for number in range(NODES)], make_instances(2 * ASKED)


@pytest.mark.timeout(1800)
def test_p_3_no_place_is_given_twice_and_nobody_is_refused_while_one_is_left():
    names, instances = start()
    for _ in range(ROUNDS):
        placed = a_round(names, instances)
        used = used_by_rows()
        assert max(used.values()) == EACH
        assert sum(used.values()) == NODES * EACH, "all room was taken before anybody who would go anywhere was refused"
        assert placed == NODES * EACH, "who was told of a place has a row"
        assert {row.used_cpus for row in NodeCapacity.objects.all()} == {EACH}
        PlacementReservation.objects.all().delete()
        empty()


def test_p_3_without_the_guard_places_are_given_twice(monkeypatch):
    monkeypatch.setattr(capacity, "take", take_without_guard)
    names, instances = start()
    for _ in range(20):
        a_round(names, instances)
        if max(used_by_rows().values()) > EACH:
            return
        PlacementReservation.objects.all().delete()
        empty()
    raise AssertionError("the race was never lost")

"""What only two real transactions show: joins, settles, claims and pools under contention on MariaDB.

Each race has a twin with its rule taken out, which loses: so a test that would pass without the rule is no test.
"""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from nodeagent.wire import Kind, Outcome
from sftasks import celery, dispatch, engine
from sftasks.operation import PlannedStep, Wish
from sftasks.operations import instance_create
from sfweb.domain import allocator, ipam, placement
from sfweb.domain.lookup import find_namespace
from sfweb.domain.placement_rules import Asked, Room
from sfweb.domain.specs import NewDisk
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NoCapacity, PoolExhausted
from sfweb.models import (
    Instance,
    Namespace,
    Network,
    Node,
    NodeCapacity,
    NodeObject,
    Operation,
    PoolAllocation,
    SnapshotSet,
    Step,
)
from sfweb.models.fields import UtcNow
from tests.factories import make_namespace, new_instance

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch):
    monkeypatch.setattr(celery, "ring", lambda messages: 0)


def together(count, function, *arguments):
    """Call in `count` threads that start as one; results or exceptions, in order."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait()
        try:
            return function(number, *arguments)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def make_node(name="node1", cpus=100):
    from sfweb.domain import enrolment, node_life
    from sfweb.models import NodeCredential

    node = uuid.UUID(enrolment.enrol(name).rsplit(":", 2)[1])
    row = Node.objects.get(pk=node)
    row.credential = NodeCredential.objects.get(node=row)
    from nodeagent.action import actions

    node_life.arrive(row, "journal-1", {name: action.version for name, action in actions().items()}, 0.0)
    NodeCapacity.objects.filter(node=row).update(
        limit_cpus=cpus, limit_memory_mb=10**6, limit_disk_gb=10**6, largest_cpus=cpus
    )
    return row


def make_network():
    namespace, _ = Namespace.objects.get_or_create(name="system")
    vni = allocator.allocate("vni", "network", uuid.uuid4())
    return Network.objects.create(namespace=namespace, name="n", netblock="10.0.0.0/24", vni=vni)


def network_wish(network, node):
    return Wish(
        kind="network_on_node",
        object_key=f"network:{network.pk}@{node.pk}",
        targets=[("network", network.pk)],
        params={"network": str(network.pk), "node": str(node.pk)},
    )


def test_en_5_of_many_equal_wishes_one_operation_waits_and_all_others_join_it():
    node, network = make_node(), make_network()
    blocker = durable(lambda: engine.submit(network_wish(network, node)))()
    assert Operation.objects.get(pk=blocker.pk).state in ("running", "succeeded")
    Operation.objects.filter(pk=blocker.pk).update(state="running", running_key=blocker.object_key)
    results = together(16, lambda number: durable(lambda: engine.submit(network_wish(network, node)))())
    waiting = Operation.objects.filter(object_key=blocker.object_key, state="waiting")
    assert waiting.count() == 1, results
    assert waiting.get().joined == 15
    assert {result.pk for result in results} == {waiting.get().pk}


def _join_while_it_starts(lock_the_waiting_one):
    """A wish raises the generation and joins while the waiting operation starts. Returns the generation it rendered."""
    node, network = make_node(uuid.uuid4().hex[:8]), make_network()
    NodeObject.objects.create(node=node, object_type="network", object_uuid=network.pk)
    waiting = Operation.objects.create(
        kind="network_on_node",
        object_key=f"network:{network.pk}@{node.pk}",
        queued_key=f"network_on_node:network:{network.pk}@{node.pk}",
        params={"network": str(network.pk), "node": str(node.pk)},
    )
    joined, started = threading.Event(), threading.Event()

    def wish():
        with transaction.atomic():
            if lock_the_waiting_one:
                durable_join = engine.submit(network_wish(network, node))
                assert durable_join.pk == waiting.pk
            else:
                assert Operation.objects.filter(pk=waiting.pk, state="waiting").exists()
            joined.set()
            started.wait(1.0)
            Network.objects.filter(pk=network.pk).update(mesh_generation=77)
        connection.close()

    thread = threading.Thread(target=wish)
    thread.start()
    joined.wait()
    engine.advance(waiting.pk)
    started.set()
    thread.join()
    return Step.objects.get(operation=waiting).generation


def test_en_5_a_join_holds_the_waiting_operation_until_its_wish_is_written():
    assert _join_while_it_starts(lock_the_waiting_one=True) == 77


def test_en_5_without_the_lock_the_wish_is_lost():
    assert _join_while_it_starts(lock_the_waiting_one=False) != 77


def _two_settles(monkeypatch, with_lock):
    """Both steps of one stage end at the same moment. Returns the operation's state."""
    nodes = [make_node(uuid.uuid4().hex[:8]) for _ in range(2)]
    network = make_network()
    operation = Operation.objects.create(
        kind="network_on_node",
        object_key=f"network:{network.pk}@{nodes[0].pk}",
        state="running",
        running_key=f"network:{network.pk}@{nodes[0].pk}",
        started_at=UtcNow(),
        params={"network": str(network.pk), "node": str(nodes[0].pk)},
    )
    tokens = [str(uuid.uuid4()) for _ in nodes]
    for node, token in zip(nodes, tokens, strict=True):
        planned = PlannedStep(node=node.pk, action="ensure_network", object_type="network", object_uuid=network.pk)
        dispatch.plan(operation, {0: [planned]})
        Step.objects.filter(operation=operation, node=node).update(state="sent", token=token, sent_at=UtcNow())
    if not with_lock:
        _without_locks(monkeypatch)
    together(2, lambda number: engine.settle(nodes[number].pk, Outcome(token=tokens[number], kind=Kind.DONE)))
    return Operation.objects.get(pk=operation.pk).state


def _without_locks(monkeypatch):
    """SELECT … FOR UPDATE becomes a plain SELECT, and both readers look before either commits."""
    from django.db.models.query import QuerySet

    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, *_, **__: self.all())
    monkeypatch.setattr("sftasks.statements.FOR_UPDATE", "")
    barrier = threading.Barrier(2)
    genuine = engine._step_on

    def slow(*arguments):
        barrier.wait(5)
        genuine(*arguments)
        barrier.wait(5)

    monkeypatch.setattr(engine, "_step_on", slow)


def test_en_6_of_two_settles_at_once_one_advances(monkeypatch):
    for _ in range(5):
        assert _two_settles(monkeypatch, with_lock=True) == "succeeded"


def test_en_6_without_the_lock_nobody_advances(monkeypatch):
    assert _two_settles(monkeypatch, with_lock=False) == "running"


@pytest.mark.parametrize("model", [Instance, Network, SnapshotSet])
def test_se_12_who_adds_to_a_namespace_keeps_nobody_from_ending_what_is_in_it(model):
    """The key to the namespace must not be checked by an index with the state in it: MariaDB would lock the namespace's row."""
    tenant = Namespace.objects.get(name=make_namespace("tenant").namespace)
    instance = Instance.objects.create(namespace=tenant, name="i", state="creating", cpus=1, memory_mb=64)
    make_network()
    SnapshotSet.objects.create(namespace=tenant, instance_uuid=instance.pk, instance_name="i", settings={})
    adds, ended = threading.Event(), threading.Event()

    def add():
        with transaction.atomic():
            list(Namespace.objects.select_for_update())
            adds.set()
            ended.wait(20)
        connection.close()

    adding = threading.Thread(target=add)
    adding.start()
    adds.wait(5)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        assert model.objects.update(state="error") >= 1
    finally:
        ended.set()
        adding.join()
        connection.close()


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_sc_1_sc_2_concurrent_claims_admit_exactly_what_fits(isolation):
    for number in range(4):
        make_node(f"node{number}", cpus=5)
    asked = [Asked(room=Room(cpus=1, memory_mb=1, disk_gb=1))]

    def claim(number):
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
        return durable(lambda: placement.place(asked)[0].name)()

    results = together(48, claim)
    assert sum(isinstance(result, str) for result in results) == 20
    refusals = [result for result in results if not isinstance(result, str)]
    assert all(isinstance(refusal, NoCapacity) for refusal in refusals), refusals
    assert list(NodeCapacity.objects.values_list("used_cpus", flat=True)) == [5, 5, 5, 5]


def _apart_together():
    """Eight creates that require not to be beside each other, on four nodes, at one moment. Returns nodes of those placed."""
    caller = make_namespace(uuid.uuid4().hex[:8])
    metadata = {"tags": ["web"], "affinity": {"require_without_tag": ["web"]}}
    wanted = [new_instance(f"i{n}", caller.namespace, disks=(NewDisk(size_gb=1),), metadata=metadata) for n in range(8)]
    results = together(8, lambda number: instance_create.request(caller, wanted[number]).row.node_id)
    assert all(isinstance(result, uuid.UUID | Conflict) for result in results), results
    return [result for result in results if isinstance(result, uuid.UUID)]


def test_af_3_a_requirement_holds_against_those_who_are_placed_at_the_same_moment():
    for number in range(4):
        make_node(f"node{number}")
    for _ in range(5):
        placed = _apart_together()
        assert len(placed) == len(set(placed)) == 4


def test_af_3_without_the_namespaces_lock_neighbours_meet(monkeypatch):
    def unlocked(caller, names):
        return {name: find_namespace(caller, name) for name in names}

    monkeypatch.setattr(instance_create, "lock_namespaces", unlocked)
    for number in range(4):
        make_node(f"node{number}")
    assert any(len(placed) > len(set(placed)) for placed in (_apart_together() for _ in range(10)))


def test_ga_3_ga_5_sixty_four_callers_share_a_pool_of_sixty_four_and_the_next_is_refused(monkeypatch):
    monkeypatch.setattr(allocator, "pool", lambda name: allocator.Pool(1, 64))
    results = together(64, lambda number: durable(lambda: allocator.allocate("vni", "network", uuid.uuid4()))())
    assert sorted(results, key=str) == sorted(range(1, 65), key=str)
    with pytest.raises(PoolExhausted):
        durable(lambda: allocator.allocate("vni", "network", uuid.uuid4()))()
    assert PoolAllocation.objects.count() == 64


def test_ip_2_of_many_callers_for_one_address_one_gets_it():
    network = make_network()
    ipam.open_block(network)
    results = together(
        12,
        lambda number: durable(
            lambda: ipam.reserve_fixed(network, "10.0.0.9", "instance", "interface", uuid.uuid4())
        )(),
    )
    assert sum(result == "10.0.0.9" for result in results) == 1


def test_a_node_without_a_capacity_row_is_never_chosen_sc_10():
    row = make_node()
    NodeCapacity.objects.filter(node=row).delete()
    with pytest.raises(NoCapacity):
        durable(lambda: placement.place([Asked(room=Room(cpus=1, memory_mb=1, disk_gb=1))]))()
    assert not Instance.objects.exists()


def test_sc_4_of_many_that_a_node_refuses_at_once_as_many_go_elsewhere_as_there_is_room():
    """Each outcome is settled by two callers: it places once, and nobody waits for a place that another has."""
    caller = make_namespace("many")
    full, free = make_node("full", cpus=6), make_node("free", cpus=0)
    made = [
        instance_create.request(caller, new_instance(f"guest{number}", "many", disks=(NewDisk(size_gb=1),)))
        for number in range(6)
    ]
    NodeCapacity.objects.filter(node=free).update(limit_cpus=4, largest_cpus=4)
    tokens = [Step.objects.get(operation=one.operation, state="sent").token for one in made]
    refused = [Outcome(token=token, kind=Kind.REFUSED, code="disk.full", message="no room") for token in tokens]
    settled = together(12, lambda number: engine.settle(full.pk, refused[number // 2]).taken)
    assert sorted(settled) == [0] * 6 + [1] * 6, settled
    there = Instance.objects.filter(node=free)
    assert (there.count(), NodeCapacity.objects.get(node=free).used_cpus) == (4, 4)
    assert all(len(Operation.objects.get(pk=one.operation.pk).params["refused"]) == 1 for one in made)
    states = sorted(Operation.objects.values_list("state", flat=True))
    assert states.count("unwinding") == 2, "no other node has room for these"
    assert NodeCapacity.objects.get(node=full).used_cpus == 6, "until the node has confirmed that nothing is left"

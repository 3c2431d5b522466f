"""node_drain: a node is cordoned and its instances move away; what has to stay is listed with its reason."""

import pytest

from nodeagent.host import Refused
from sftasks import engine, explain
from sftasks.operations import instance_create, instance_power, node_drain
from sftasks.reconcilers import node_drains
from sfweb.errors import Conflict
from sfweb.models import Instance, Node, Operation
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance


@pytest.fixture
def busy(make_served):
    """A cluster of two nodes whose first has three guests, one of them off."""
    made = make_served()
    for name in ("one", "two", "three"):
        made.ask(instance_create.request, made.caller, new_instance(name, "tenant", "net", placed_on="node1"))
    made.settle()
    made.ask(instance_power.request, made.caller, Instance.objects.get(name="three"), "poweroff")
    made.settle()
    return made


def drain(cluster, cold=False):
    return cluster.ask(node_drain.request, cluster.caller, cluster.nodes[0].row, cold)


def go_on(cluster, accepted, rounds=12) -> Operation:
    """The clock runs the reconciler, and the cluster does what it asked for."""
    for _ in range(rounds):
        cluster.run(node_drains.run)
        cluster.settle(rounds=10)
        operation = Operation.objects.get(pk=accepted.operation.pk)
        if operation.state not in OPEN_OPERATION:
            return operation
    raise AssertionError(explain.why(operation))


def names(node) -> set[str]:
    return set(Instance.objects.filter(node=node.pk).exclude(state="deleted").values_list("name", flat=True))


def running(node) -> set[str]:
    return {instance for instance, power in node.host.inventory().instances.items() if power == "on"}


def test_everything_moves_and_what_ran_runs_on(busy):
    guests = running(busy.nodes[0])
    accepted = drain(busy)
    assert "3 instances" in explain.why(accepted.operation)["sentence"]
    assert go_on(busy, accepted).state == "succeeded"
    assert (names(busy.nodes[0]), names(busy.nodes[1])) == (set(), {"one", "two", "three"})
    assert running(busy.nodes[1]) == guests
    assert busy.nodes[0].host.inventory().instances == {}
    assert Node.objects.get(name="node1").cordoned
    assert busy.findings() == []


def test_not_more_than_a_few_at_a_time(busy, settings):
    settings.DRAIN_AT_ONCE = 1
    accepted = drain(busy)
    busy.run(node_drains.run)
    busy.run(node_drains.run)
    assert Operation.objects.filter(kind="instance_migrate").count() == 1
    busy.settle(rounds=10)
    busy.run(node_drains.run)
    assert Operation.objects.get(pk=accepted.operation.pk).progress == 33
    assert go_on(busy, accepted).state == "succeeded"


def test_what_cannot_move_stays_and_is_listed_with_its_reason(busy):
    Instance.objects.get(name="two").disks.update(bus="nvme", device="nvme0")
    accepted = drain(busy)
    ended = go_on(busy, accepted)
    assert (ended.state, ended.error_code) == ("failed", "drain.incomplete")
    assert ended.error_message == "two: these devices cannot move while the guest runs: nvme0"
    assert [each["code"] for each in ended.params["left"].values()] == ["migration.devices"]
    assert names(busy.nodes[0]) == {"two"}
    assert Node.objects.get(name="node1").cordoned


def test_a_move_that_fails_is_listed_too(busy):
    busy.nodes[0].host.fail_next("migrate_domain", Refused("migration.unsupported", "not this one"))
    ended = go_on(busy, drain(busy))
    assert ended.state == "failed"
    assert ended.error_message.endswith(": not this one")
    assert len(names(busy.nodes[0])) == 1
    assert busy.findings() == []


def test_what_cannot_move_while_it_runs_moves_cold_when_that_was_asked_for(busy):
    busy.nodes[0].host.fail_next("migrate_domain", Refused("migration.unsupported"), times=2)
    guests = running(busy.nodes[0])
    ended = go_on(busy, drain(busy, cold=True))
    assert ended.state == "succeeded", ended.error_message
    assert running(busy.nodes[1]) == guests
    assert busy.findings() == []


def test_without_room_elsewhere_everything_stays(busy):
    Node.objects.filter(name="node2").update(cordoned=True)
    ended = go_on(busy, drain(busy))
    assert (ended.state, len(ended.params["left"])) == ("failed", 3)
    assert len(names(busy.nodes[0])) == 3


def test_cancelled_nothing_more_is_asked_for(busy, settings):
    settings.DRAIN_AT_ONCE = 1
    accepted = drain(busy)
    busy.run(node_drains.run)
    busy.run(engine.cancel, accepted.operation.pk, busy.caller)
    busy.settle()
    busy.run(node_drains.run)
    busy.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "cancelled"
    assert len(names(busy.nodes[0])) == 2
    assert busy.findings() == []


def test_asked_for_twice_it_is_one(busy):
    assert drain(busy).operation == drain(busy).operation


def test_a_silent_node_cannot_be_drained(busy):
    Node.objects.filter(name="node1").update(last_seen=FromNow(-3600))
    with pytest.raises(Conflict) as refused:
        drain(busy)
    assert refused.value.code == "node.silent"
    assert not Node.objects.get(name="node1").cordoned


def test_an_empty_node_is_drained_at_once(served):
    accepted = drain(served)
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"


def test_repeats_are_harmless(busy):
    genuine = busy.settle

    def settle(rounds=10):
        for _ in range(8):
            busy.run(node_drains.run)
            genuine(10)

    busy.settle = settle
    assert repeats_are_harmless(busy, drain).state == "succeeded"

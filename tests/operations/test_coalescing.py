"""Wishes for one shared object become few operations; whose key is too wide or whose kind forbids it stays alone (QP-*)."""

import dataclasses

import pytest

from sftasks import engine, operation
from sftasks.operation import Wish, kinds
from sftasks.operations import instance_create, instance_power
from sfweb.models import Event, EventObject, Instance, Network, Node, Operation
from tests.factories import new_instance

STARTS = 40
NAMES = ("router_on_node", "network_on_node")


def start_many(cluster) -> dict[str, int]:
    """{kind: operations for the network} after many starts on one network, asked for in one moment."""
    before = {kind: Operation.objects.filter(kind=kind).count() for kind in NAMES}
    for number in range(STARTS):
        cluster.ask(instance_create.request, cluster.caller, new_instance(f"guest{number}", "tenant", "net"))
    cluster.settle(rounds=400)
    assert Instance.objects.filter(state="created").count() == STARTS
    return {kind: Operation.objects.filter(kind=kind).count() - before[kind] for kind in NAMES}


@pytest.fixture
def wide(make_cluster, caller):
    """A cluster with room for all of them."""
    from sftasks.operations import network_create
    from tests.factories import new_network

    made = make_cluster(2, cpus=100, memory_mb=100_000, disk_gb=1000)
    made.caller = caller
    made.ask(network_create.request, caller, new_network())
    made.settle()
    return made


def without_metadata(monkeypatch) -> None:
    """As if no kind said that an equal waiting one may be joined."""
    bare = {name: dataclasses.replace(kind, coalesces=False) for name, kind in kinds().items()}
    monkeypatch.setattr(operation, "kinds", lambda: bare)
    monkeypatch.setattr(engine, "kinds", lambda: bare)


def test_qp_3_qp_10_many_starts_on_one_network_are_a_tenth_as_many_carrier_updates(wide):
    made = start_many(wide)
    assert made["router_on_node"] <= STARTS / 10, made


def test_qp_3_the_same_with_the_metadata_emptied_is_an_update_for_each_start(wide, monkeypatch):
    without_metadata(monkeypatch)
    assert start_many(wide)["router_on_node"] >= STARTS


def test_qp_4_qp_5_the_joined_one_is_told_on_itself_and_on_what_it_is_about(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    first = guest.ask(instance_power.request, guest.caller, guest.instance, "poweron").operation
    again = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff").operation
    assert again.pk == first.pk
    told = Event.objects.get(message="instance_power joined")
    about = EventObject.objects.filter(event_uuid=told.pk).values_list("object_type", flat=True)
    assert set(about) == {"operation", "instance"}


def test_qp_2_the_end_says_what_it_took_and_how_many_it_stood_for(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    joined = [guest.ask(instance_power.request, guest.caller, guest.instance, "poweron").operation for _ in range(3)]
    assert len({row.pk for row in joined}) == 1
    guest.settle()
    own = EventObject.objects.filter(object_type="operation", object_uuid=joined[0].pk, event_type="usage")
    took = Event.objects.get(pk=own.get().event_uuid).extra
    assert (took["kind"], took["folded"], took["steps"], took["deliveries"], took["deferrals"]) == (
        "instance_power",
        2,
        1,
        1,
        0,
    )
    assert took["wait_seconds"] > 0 and took["seconds"] > 0


def test_qp_6_one_nodes_operation_never_stands_for_anothers(served):
    first, second = Node.objects.order_by("name")
    network = Network.objects.get(name="net")
    rows = []
    for node in (first, second, first):
        wish = Wish(
            kind="network_on_node",
            object_key=f"network:{network.pk}@{node.pk}",
            caller=served.caller,
            namespace=None,
            targets=(("network", network.pk),),
            params={"node": str(node.pk)},
        )
        rows.append(wish)
    held = Operation.objects.create(
        kind="network_on_node", object_key=rows[0].object_key, state="running", running_key=rows[0].object_key
    )
    made = [served.run(engine.submit, wish) for wish in rows]
    assert made[0].pk == made[2].pk != made[1].pk
    assert held.pk not in {row.pk for row in made}


def test_qp_7_one_runs_and_one_waits_for_a_key_whatever_many_ask(guest):
    for _ in range(10):
        guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
        rows = Operation.objects.filter(object_key=f"instance:{guest.instance.pk}")
        assert rows.filter(state="running").count() <= 1
        assert rows.filter(state="waiting").count() <= 1


def test_qp_8_a_step_stands_once_in_an_operation(guest):
    """Stages are made from rows, and an object's row on a node is one."""
    for row in Operation.objects.prefetch_related("steps"):
        steps = [(step.stage, step.purpose, step.node_id, step.action, step.object_uuid) for step in row.steps.all()]
        assert len(steps) == len(set(steps)), row.kind

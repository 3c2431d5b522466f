"""Operations as callers see them: pages, one in full, the client's words, cancelling."""

import uuid
from typing import Any

import pytest

from sfweb.models import DependencyKind, Operation, OperationDependency, Step
from sfweb.models.state import OperationState
from tests.api.world import Person, World


def many(world: World, number: int, **columns: Any) -> list[Operation]:
    return [
        Operation.objects.create(
            **{"kind": "instance_power", "namespace": world.owner, "object_key": f"instance:{uuid.uuid4()}"} | columns
        )
        for _ in range(number)
    ]


def test_pages_follow_each_other_without_gap_or_repeat(owner: Person, world: World):
    many(world, 9)
    path, seen = "/operations?limit=4", []
    while path:
        answer = owner.get(path)
        seen += [row["uuid"] for row in answer.json()]
        path = answer["Link"].partition(">")[0].removeprefix("<http://testserver") if "Link" in answer else ""
    assert len(seen) == len(set(seen)) == 10
    assert seen[-1] == str(world.operation.uuid), "the oldest comes last"


@pytest.mark.parametrize(
    ("query", "number"),
    [("state=failed", 2), ("kind=network_create", 1), ("namespace=owner", 4), ("state=failed&kind=network_create", 0)],
)
def test_filters(owner: Person, world: World, query: str, number: int):
    many(world, 2, state=OperationState.FAILED)
    many(world, 1, kind="network_create")
    assert len(owner.get(f"/operations?{query}").json()) == number


def test_operations_of_one_object(owner: Person, world: World):
    many(world, 3)
    found = owner.get(f"/operations?target_type=instance&target_uuid={world.instance.uuid}").json()
    assert [row["uuid"] for row in found] == [str(world.operation.uuid)]


def test_foreign_operations_are_not_there(other: Person, system: Person, world: World):
    assert other.get("/operations").json() == []
    assert len(system.get("/operations").json()) == 1


def test_one_operation_in_full(owner: Person, world: World):
    Step.objects.create(
        operation=world.operation,
        stage=0,
        node=world.node,
        action="ensure_instance",
        object_type="instance",
        object_uuid=world.instance.uuid,
        request={"user_data": "secret"},
        outcome={"kind": "retry", "code": "busy", "message": "m", "result": {"x": "secret"}},
    )
    answer = owner.get(f"/operations/{world.operation.uuid}")
    told = answer.json()
    assert told["state"] == "waiting"
    assert told["targets"] == [{"type": "instance", "uuid": str(world.instance.uuid)}]
    assert told["stages"][0][0]["action"] == "ensure_instance"
    assert told["stages"][0][0]["outcome"]["code"] == "busy"
    assert "why" in told
    assert b"secret" not in answer.content


def test_cancelling_a_waiting_operation_ends_it(owner: Person, world: World):
    answer = owner.post(f"/operations/{world.operation.uuid}/cancel")
    assert answer.status_code == 202
    assert answer.json()["state"] == "cancelled"
    assert owner.delete(f"/operations/{world.operation.uuid}").status_code == 409


def test_co_20_the_clients_words(owner: Person, world: World):
    view = owner.get(f"/clusteroperations/instance_create/{world.operation.uuid}").json()
    assert view["state"] == "queued"
    assert view["operation_type"] == "instance_create"
    for ours, theirs in {
        "running": "executing",
        "unwinding": "executing",
        "succeeded": "complete",
        "failed": "error",
        "cancelled": "abort",
    }.items():
        Operation.objects.update(state=ours)
        assert owner.get(f"/clusteroperations/instance_create/{world.operation.uuid}").json()["state"] == theirs


def test_co_20_operations_of_a_target_by_body_or_query(owner: Person, other: Person, world: World):
    asked = {"target_object_type": "instance", "target_uuid": str(world.instance.uuid)}
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    by_body, by_query = owner.get("/clusteroperations", asked), owner.get(f"/clusteroperations?{query}")
    assert by_body.json() == by_query.json()
    assert [row["uuid"] for row in by_body.json()] == [str(world.operation.uuid)]
    assert other.get("/clusteroperations", asked).json() == []


def test_co_20_the_chain_is_everything_it_depends_on(owner: Person, world: World):
    shared, foreign, unrelated = (
        many(world, 1, namespace=None)[0],
        many(world, 1, namespace=world.other)[0],
        many(world, 1)[0],
    )
    for needs in (shared, foreign):
        OperationDependency.objects.create(operation=world.operation, needs=needs, kind=DependencyKind.DEPENDS_ON)
    OperationDependency.objects.create(operation=shared, needs=unrelated, kind=DependencyKind.RUNS_AFTER)
    chain = [row["uuid"] for row in owner.get(f"/clusteroperations/{world.operation.uuid}/chain").json()]
    assert chain == [str(shared.uuid), str(world.operation.uuid)]


def test_co_5_cv_1_an_operation_that_only_looks_is_no_last_operation(owner: Person, world: World):
    looking = many(world, 1, observational=True)[0]
    looking.targets.create(target_type="instance", target_uuid=world.instance.uuid)
    view = owner.get(f"/instances/{world.instance.uuid}").json()
    assert view["last_cluster_operation"]["op_uuid"] == str(world.operation.uuid)


def test_cv_2_pending_ends_with_the_last_open_one(owner: Person, world: World):
    assert owner.get(f"/instances/{world.instance.uuid}").json()["has_pending_operations"] is True
    Operation.objects.update(state=OperationState.SUCCEEDED)
    assert owner.get(f"/instances/{world.instance.uuid}").json()["has_pending_operations"] is False


def test_events_are_paged_newest_first(owner: Person, world: World):
    from sfweb.domain.events import record

    for number in range(7):
        record("audit" if number % 2 else "mutate", f"m{number}", [("instance", world.instance.uuid)])
    path, seen = f"/instances/{world.instance.uuid}/events?limit=3", []
    while path:
        answer = owner.get(path)
        seen += [event["message"] for event in answer.json()]
        path = answer["Link"].partition(">")[0].removeprefix("<http://testserver") if "Link" in answer else ""
    assert sorted(seen, reverse=True) == seen == [f"m{number}" for number in reversed(range(7))]
    only = owner.get(f"/instances/{world.instance.uuid}/events", {"event_type": "audit", "limit": "2"}).json()
    assert [event["message"] for event in only] == ["m5", "m3"]
    assert {"timestamp", "fqdn", "duration", "message", "type", "extra"} <= set(only[0])
    assert isinstance(only[0]["timestamp"], float)


def test_events_whose_rows_were_written_across_each_other_stand_in_the_order_of_their_moments(
    owner: Person, world: World
):
    from sfweb.domain.events import record
    from sfweb.models import Event
    from sfweb.models.fields import FromNow

    for number in range(3):
        record("audit", f"m{number}", [("instance", world.instance.uuid)])
    Event.objects.filter(message="m0").update(at=FromNow(5))
    told = owner.get(f"/instances/{world.instance.uuid}/events").json()
    assert [event["message"] for event in told] == ["m2", "m1", "m0"]
    assert sorted((event["timestamp"] for event in told), reverse=True) == [event["timestamp"] for event in told]

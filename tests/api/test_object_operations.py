"""The operations of one object: what is outstanding, what was, page by page, and how a caller ends one (CO-20 to CO-24)."""

import uuid
from typing import Any

import pytest

from sfweb.models import Instance, Operation, OperationTarget
from sfweb.models.state import OperationState
from tests.api.world import Person, World


@pytest.fixture
def place(world: World) -> str:
    Operation.objects.all().delete()
    return f"/instances/{world.instance.uuid}/clusteroperations"


def on_instance(world: World, number: int = 1, **columns: Any) -> list[Operation]:
    """That many operations on the world's instance, oldest first."""
    made = []
    for _ in range(number):
        row = Operation.objects.create(
            **{"kind": "instance_power", "namespace": world.owner, "object_key": str(uuid.uuid4())} | columns
        )
        OperationTarget.objects.create(operation=row, target_type="instance", target_uuid=world.instance.uuid)
        made.append(row)
    return made


def uuids(answer: Any) -> list[str]:
    return [row["uuid"] for row in answer.json()]


def test_co_21_what_is_outstanding_and_with_all_what_was(owner: Person, world: World, place: str):
    ended = on_instance(world, state=OperationState.SUCCEEDED)[0]
    waiting, running = on_instance(world)[0], on_instance(world, state=OperationState.RUNNING)[0]
    assert uuids(owner.get(place)) == [str(running.uuid), str(waiting.uuid)]
    everything = [str(row.uuid) for row in (running, waiting, ended)]
    assert uuids(owner.get(place, {"all": True})) == everything
    assert uuids(owner.get(f"{place}?all=true")) == everything
    assert uuids(owner.get(place.replace("clusteroperations", "operations") + "?all=true")) == everything
    first = owner.get(place).json()[0]
    assert (first["operation_type"], first["state"], first["tasks"]) == ("instance_power", "executing", [])
    assert (first["op_type"], first["op_uuid"]) == ("instance_power", str(running.uuid)), "CO-22: the handle"


@pytest.mark.parametrize("plural", ["networks", "artifacts"])
def test_co_21_networks_and_artifacts_have_theirs(owner: Person, world: World, plural: str):
    subject = world.network if plural == "networks" else world.artifact
    OperationTarget.objects.update(target_type=plural[:-1], target_uuid=subject.uuid)
    for word in ("clusteroperations", "operations"):
        assert uuids(owner.get(f"/{plural}/{subject.uuid}/{word}")) == [str(world.operation.uuid)]


def test_co_21_an_object_that_is_gone_still_tells_its_operations(owner: Person, world: World, place: str):
    on_instance(world, state=OperationState.SUCCEEDED, kind="instance_delete")
    Instance.objects.filter(pk=world.instance.pk).update(state="deleted")
    assert len(owner.get(f"{place}?all=true").json()) == 1


def test_cv_5_all_is_paged_without_gap_or_repeat(owner: Person, world: World, place: str):
    made = on_instance(world, 9, state=OperationState.FAILED)
    path, seen = f"{place}?all=true&limit=4", []
    while path:
        answer = owner.get(path)
        assert len(answer.json()) <= 4
        seen += uuids(answer)
        path = answer["Link"].partition(">")[0].removeprefix("<http://testserver") if "Link" in answer else ""
    assert seen == [str(row.uuid) for row in reversed(made)]
    assert {row["state"] for row in owner.get(f"{place}?all=true").json()} == {"error"}


def test_cv_1_what_only_looks_is_in_the_history_and_nowhere_else(owner: Person, world: World, place: str):
    looking = on_instance(world, state=OperationState.RUNNING, observational=True)[0]
    assert uuids(owner.get(place)) == [str(looking.uuid)]
    view = owner.get(f"/instances/{world.instance.uuid}").json()
    assert (view["has_pending_operations"], view["last_cluster_operation"]) == (False, None)
    assert owner.get("/instances").json()[0]["has_pending_operations"] is False


@pytest.mark.parametrize("plural", ["instances", "networks", "artifacts"])
def test_cv_2_every_row_of_a_list_says_whether_it_is_busy(owner: Person, world: World, plural: str):
    subject = {"instances": world.instance, "networks": world.network, "artifacts": world.artifact}[plural]
    OperationTarget.objects.update(target_type=plural[:-1], target_uuid=subject.uuid)
    told = {row["uuid"]: row["has_pending_operations"] for row in owner.get(f"/{plural}").json()}
    assert told.pop(str(subject.uuid)) is True
    assert not any(told.values())
    Operation.objects.update(state=OperationState.CANCELLED)
    assert not any(row["has_pending_operations"] for row in owner.get(f"/{plural}").json())


def test_co_16_the_owner_ends_an_operation_in_the_clients_words(owner: Person, other: Person, world: World, place: str):
    row = on_instance(world, kind="instance_create", object_key=f"instance:{world.instance.uuid}")[0]
    row.params = {"instance": str(world.instance.uuid)}
    row.save(update_fields=["params"])
    path = f"/clusteroperations/instance_create/{row.uuid}"
    assert other.delete(path).status_code == 404
    assert owner.delete(f"/clusteroperations/instance_delete/{row.uuid}").status_code == 404
    answer = owner.delete(path)
    assert (answer.status_code, answer.json()["state"]) == (202, "abort")
    again = owner.delete(path)
    assert (again.status_code, again.json()["code"]) == (409, "operation.ended")
    assert owner.get(place).json() == []


@pytest.mark.parametrize("columns", [{"joined": 1}, {"requested_by": "system/- (cluster)"}])
def test_en_14_what_others_wait_for_cannot_be_ended(owner: Person, world: World, place: str, columns: dict[str, Any]):
    row = on_instance(world, **columns)[0]
    answer = owner.delete(f"/clusteroperations/{row.kind}/{row.uuid}")
    assert (answer.status_code, answer.json()["code"]) == (409, "operation.shared")
    row.refresh_from_db()
    assert row.state == "waiting"


def test_co_24_who_waits_sees_how_it_ended(owner: Person, world: World, place: str):
    """Outstanding ones leave the list when they end, and each still says how for seven days (CO-13, CO-14)."""
    seen = on_instance(world)[0]
    assert uuids(owner.get(place)) == [str(seen.uuid)]
    Operation.objects.filter(pk=seen.pk).update(state=OperationState.FAILED, error_message="no room")
    assert owner.get(place).json() == []
    view = owner.get(f"/clusteroperations/{seen.kind}/{seen.uuid}").json()
    assert (view["state"], view["error_report"]) == ("error", "no room")


def test_co_20_lists_by_target_are_paged_too(owner: Person, world: World, place: str):
    made = on_instance(world, 3)
    query = f"/clusteroperations?target_object_type=instance&target_uuid={world.instance.uuid}&limit=2"
    first = owner.get(query)
    assert uuids(first) == [str(made[2].uuid), str(made[1].uuid)]
    following = first["Link"].partition(">")[0].removeprefix("<http://testserver")
    assert uuids(owner.get(following)) == [str(made[0].uuid)]


def test_co_23_what_answers_is_advertised(owner: Person):
    text = owner.get("/", accept="text/html").content.decode()
    for noun in ("artifact", "instance", "network"):
        assert f"{noun}-clusteroperations" in text
    assert "object-pending-operations" in text and "cluster-operations-by-target" in text

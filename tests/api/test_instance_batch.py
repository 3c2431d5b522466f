"""POST /instances/batch and ?diagnose=true as callers see them (SC-25, SC-30, SC-31)."""

from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sfweb.domain import limits
from sfweb.domain.callers import CLUSTER
from sfweb.domain.keys import Terms, put_key
from sfweb.models import Address, IdempotencyKey, Instance, NodeCapacity, Operation, PlacementReservation
from tests.api.world import Person, World, make_node, token_of

SPEC = {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}


def specs(number: int, **more: Any) -> dict[str, Any]:
    return {"instances": [SPEC | {"name": f"new-{index}"} | more for index in range(number)]}


def every_row() -> dict[str, list[Any]]:
    """All rows of all tables."""
    return {model._meta.db_table: sorted(map(str, model.objects.values_list())) for model in apps.get_models()}


def test_sc_30_all_are_made_and_shown_in_order(owner: Person, world: World):
    answer = owner.post("/instances/batch", specs(5, network=[{"network_uuid": "net"}]))
    assert answer.status_code == 202, answer.content
    views = answer.json()
    assert [view["name"] for view in views] == [f"new-{index}" for index in range(5)]
    for view in views:
        operation = owner.get(f"/operations/{view['last_cluster_operation']['op_uuid']}").json()
        assert (operation["kind"], operation["object"]) == ("instance_create", f"instance:{view['uuid']}")
        assert owner.get(f"/instances/{view['uuid']}").json()["node"] == "n1"
    assert len({view["interfaces"][0]["ipv4"] for view in views}) == 5
    assert len({view["interfaces"][0]["macaddr"] for view in views}) == 5
    assert len({port for view in views for port in (view["console_port"], view["vdi_port"])}) == 10
    assert NodeCapacity.objects.get(node=world.node).used_cpus == 5
    assert PlacementReservation.objects.filter(state="claimed").count() == 5


def test_sc_30_without_room_for_all_none_is_made_and_each_that_has_no_place_is_told(owner: Person, world: World):
    NodeCapacity.objects.filter(node=world.node).update(limit_memory_mb=64 * 3)
    before = every_row()
    answer = owner.post("/instances/batch", specs(5, network=[{"network_uuid": "net"}]))
    assert (answer.status_code, answer["Retry-After"]) == (507, "15")
    told = answer.json()["details"]["instances"]
    assert [(one["index"], one["stage"]) for one in told] == [(index, "sufficient_idle_memory") for index in (3, 4)]
    assert told[0]["nodes"][0]["dimensions"]["memory_mb"] == {
        "limit": 192,
        "used": 192,
        "asked": 64,
        "short_by": 64,
        "exceeded": True,
    }
    assert every_row() == before


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "instances: This field is required."),
        ({"instances": []}, 400, "instances: This list may not be empty."),
        (specs(101), 400, "instances: Ensure this field has no more than 100 elements."),
        ({"instances": "many"}, 400, "instances: Expected a list"),
        ({"instances": [SPEC] * 3 + [SPEC | {"memory": 1}]}, 400, "instances[3].memory: Ensure this value"),
        ({"instances": [SPEC, 5]}, 400, "instances[1]: an object is needed"),
        ({"instances": [SPEC, SPEC | {"disk": [{}]}]}, 400, "instances[1].disk.0.size: a disk without a base"),
        ({"instances": [SPEC, SPEC | {"disk": [{"size": -1}]}]}, 400, "instances[1].disk.0.size: Ensure"),
        ({"instances": [SPEC, SPEC | {"placed_on": "n9"}]}, 404, "instances[1]: node not found"),
        ({"instances": [SPEC, SPEC | {"network": [{"network_uuid": "no"}]}]}, 404, "instances[1]: network not found"),
        ({"instances": [SPEC, SPEC | {"disk": [{"base": "label:no"}]}]}, 404, "instances[1]: "),
        ({"instances": [SPEC, SPEC | {"diagnose": True}]}, 400, "instances[1].diagnose: unknown parameter"),
        (specs(2, network=[{"network_uuid": "net", "address": "10.0.0.9"}]), 409, "address 10.0.0.9 is in use"),
        (specs(2, metadata={"affinity": {"require_with_tag": ["db"]}}), 409, "require_with_tag: db"),
    ],
)
def test_sc_30_one_bad_member_is_named_and_nothing_is_made(
    owner: Person, world: World, body: Any, status: int, text: str
):
    before = every_row()
    answer = owner.post("/instances/batch", body)
    assert (answer.status_code, answer.json()["error"][: len(text)]) == (status, text) or text in answer.json()["error"]
    assert answer.status_code == status
    assert every_row() == before


def test_sc_30_a_batch_of_one_is_refused_like_any_batch(owner: Person, world: World):
    NodeCapacity.objects.filter(node=world.node).update(limit_cpus=0)
    details = owner.post("/instances/batch", specs(1)).json()["details"]
    assert [one["index"] for one in details["instances"]] == [0]
    missing = owner.post("/instances/batch", specs(1, network=[{"network_uuid": "no"}])).json()
    assert missing["error"].startswith("instances[0]: network not found")


def test_sc_31_members_keep_apart(owner: Person):
    make_node("n2")
    apart = {"tags": ["web"], "affinity": {"require_without_tag": ["web"]}}
    views = owner.post("/instances/batch", specs(2, metadata=apart)).json()
    assert {view["node"] for view in views} == {"n1", "n2"}
    answer = owner.post("/instances/batch", specs(1, metadata=apart))
    assert (answer.status_code, answer.json()["code"]) == (409, "affinity_unsatisfiable")


def test_se_12_a_batch_counts_as_a_whole_against_ceilings(owner: Person, world: World):
    limits.set_limits(CLUSTER, world.owner, {"instances": 3})
    assert owner.post("/instances/batch", specs(3)).status_code == 507, "there is one already"
    assert owner.post("/instances/batch", specs(2)).status_code == 202
    limits.set_limits(CLUSTER, world.owner, {"waiting_operations": 3})
    refused = owner.post("/instances/batch", specs(4)).json()
    assert (refused["code"], refused["details"]["asked"]) == ("namespace_limit", 4)


def test_a_repeat_with_the_same_key_is_the_same_batch(owner: Person):
    first, again = (owner.post("/instances/batch", specs(3), idempotency_key="a") for _ in range(2))
    assert first.json() == again.json()
    assert Instance.objects.filter(name__startswith="new-").count() == 3


def test_a_repeat_whose_first_answer_was_lost_is_answered_from_the_rows(owner: Person):
    first = owner.post("/instances/batch", specs(3), idempotency_key="a").json()
    row = IdempotencyKey.objects.get()
    operation = first[0]["last_cluster_operation"]["op_uuid"]
    row.status, row.answer = 102, {"operation": operation, "objects": [view["uuid"] for view in first]}
    row.save()
    again = owner.post("/instances/batch", specs(3), idempotency_key="a")
    assert (again.status_code, [view["uuid"] for view in again.json()]) == (202, [view["uuid"] for view in first])


def test_p_5_a_hundred_take_few_more_statements_than_one(owner: Person, world: World):
    NodeCapacity.objects.filter(node=world.node).update(limit_cpus=1000)
    counts = []
    for number in (1, 10, 100):
        with CaptureQueriesContext(connection) as said:
            assert owner.post("/instances/batch", specs(number, network=[{"network_uuid": "net"}])).status_code == 202
        counts.append(len(said))
    assert counts[2] - counts[1] <= 5, counts
    assert counts[1] - counts[0] <= 5, counts


# diagnosis


def test_sc_25_a_diagnosis_tells_candidates_in_order_and_reasons_and_changes_nothing(system: Person, world: World):
    make_node("n2")
    NodeCapacity.objects.filter(node=world.node).update(used_cpus=40)
    full = make_node("n3")
    NodeCapacity.objects.filter(node=full).update(used_cpus=64, used_memory_mb=65536)
    before = every_row()
    wanted = SPEC | {"network": [{"network_uuid": "net"}], "namespace": "owner", "disk": [{"base": "http://e.com/x"}]}
    answer = system.post("/instances?diagnose=true", wanted)
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert [one["node"] for one in told["candidates"]] == ["n2", "n1"]
    scores = [one["score"] for one in told["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert set(told["candidates"][0]["terms"]) == {"affinity", "free_share", "images_there"}
    assert [(one["node"], one["stage"]) for one in told["rejected"]] == [("n3", "sufficient_idle_cpu")]
    exceeded = {name for name, one in told["rejected"][0]["dimensions"].items() if one["exceeded"]}
    assert exceeded == {"cpus", "memory_mb"}
    assert every_row() == before
    assert told["asked"] == {"cpus": 1, "memory_mb": 64, "disk_gb": 1}


def test_sc_25_a_diagnosis_without_any_candidate_is_an_answer_too(system: Person, world: World):
    NodeCapacity.objects.filter(node=world.node).update(limit_cpus=0)
    told = system.post("/instances", SPEC | {"diagnose": True}).json()
    assert (told["candidates"], len(told["rejected"])) == ([], 1)


def test_sc_25_only_administrators_diagnose(owner: Person, world: World):
    answer = owner.post("/instances?diagnose=true", SPEC)
    assert (answer.status_code, answer.json()["code"]) == (403, "system_only")
    put_key(CLUSTER, world.system, "narrow", "secret", Terms(scopes=("instance.write",)))
    narrow = Person(token_of(world.system, "narrow"))
    assert narrow.post("/instances?diagnose=true", SPEC).status_code == 403
    assert not Operation.objects.exclude(pk=world.operation.pk).exists()
    assert not Address.objects.filter(kind="instance").exists()

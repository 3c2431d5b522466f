"""Recurring operations by REST: made, seen, changed, paused, resumed, triggered, deleted; what makes no sense changes nothing."""

import time
from typing import Any

import pytest

from sfweb.api.idempotency import DONE
from sfweb.models import IdempotencyKey, Instance, Key, Operation, Schedule, Tick
from tests.api.test_auth import sign_in
from tests.api.world import Person, World, make_schedule, token_of

ALL = "/recurring_operations"
DAY = 86400


def one(world: World) -> str:
    return f"{ALL}/{world.schedule.uuid}"


def body(**more: Any) -> dict[str, Any]:
    return {"name": "backup", "instance": "one", "kind": "snapshot", "every_seconds": 3600, **more}


def test_ro_3_a_period_and_its_next_five_due_times(owner: Person, world: World):
    told = owner.post(ALL, body(arguments={"all": True, "max_versions": 7}, overlap="queue")).json()
    assert told["instance_uuid"] == str(world.instance.uuid)
    assert (told["namespace"], told["state"], told["enabled"], told["overlap"]) == ("owner", "created", True, "queue")
    assert (told["kind"], told["arguments"]) == ("snapshot", {"all": True, "max_versions": 7})
    assert (told["every_seconds"], told["cron"], told["timezone"]) == (3600, None, "UTC")
    assert told["next_ticks"][0] - time.time() == pytest.approx(3600, abs=10)
    assert [later - told["next_ticks"][0] for later in told["next_ticks"]] == [0, 3600, 7200, 10800, 14400]
    assert owner.get(f"{ALL}/{told['uuid']}").json() == told
    assert told in owner.get(ALL).json()


def test_ro_2_a_cron_line_in_a_time_zone(owner: Person):
    wanted = {"every_seconds": None, "cron": "30 3 * * *", "timezone": "Asia/Kathmandu"}
    told = owner.post(ALL, body(**wanted)).json()
    assert (told["cron"], told["timezone"], told["every_seconds"]) == ("30 3 * * *", "Asia/Kathmandu", None)
    assert [moment % DAY for moment in told["next_ticks"]] == [21 * 3600 + 45 * 60] * 5  # 03:30 there


def test_ro_4_a_command(owner: Person):
    arguments = {"command_line": "sync", "deadline_seconds": 30}
    told = owner.post(ALL, body(kind="execute", arguments=arguments)).json()
    assert (told["kind"], told["arguments"]) == ("execute", arguments)


def test_ro_3_one_that_is_made_disabled_waits_to_be_resumed(owner: Person):
    told = owner.post(ALL, body(enabled=False)).json()
    assert (told["state"], told["enabled"], told["paused_reason"], told["next_ticks"]) == (
        "paused",
        False,
        "on request",
        [],
    )
    resumed = owner.post(f"{ALL}/{told['uuid']}/resume").json()
    assert (resumed["state"], resumed["paused_reason"], len(resumed["next_ticks"])) == ("created", None, 5)


BAD: list[dict[str, Any]] = [
    {"name": None},
    {"name": ""},
    {"name": "x" * 64},
    {"name": "a/b"},
    {"name": "a\nb"},
    {"name": 7},
    {"instance": None},
    {"kind": None},
    {"kind": "reboot"},
    {"every_seconds": None},
    {"every_seconds": 59},
    {"every_seconds": 0},
    {"every_seconds": -60},
    {"every_seconds": 3.5},
    {"every_seconds": True},
    {"every_seconds": "soon"},
    {"every_seconds": 10**12},
    {"every_seconds": 3600, "cron": "0 3 * * *"},
    {"every_seconds": 3600, "timezone": "UTC"},
    {"every_seconds": None, "cron": ""},
    {"every_seconds": None, "cron": "0 3 * *"},
    {"every_seconds": None, "cron": "0 3 * * * *"},
    {"every_seconds": None, "cron": "@daily"},
    {"every_seconds": None, "cron": "61 3 * * *"},
    {"every_seconds": None, "cron": "0 0 31 2 *"},
    {"every_seconds": None, "cron": "x" * 200},
    {"every_seconds": None, "cron": ["0", "3", "*", "*", "*"]},
    {"every_seconds": None, "cron": "0 3 * * *", "timezone": "Mars/Base"},
    {"every_seconds": None, "cron": "0 3 * * *", "timezone": "../../etc/passwd"},
    {"every_seconds": None, "cron": "0 3 * * *", "timezone": ""},
    {"overlap": "sometimes"},
    {"enabled": "perhaps"},
    {"arguments": []},
    {"arguments": "all"},
    {"arguments": {"thin": True}},
    {"arguments": {"all": "perhaps"}},
    {"arguments": {"max_versions": 0}},
    {"arguments": {"max_versions": 10**9}},
    {"arguments": {"device": "vdz"}},
    {"arguments": {"command_line": "true"}},
    {"kind": "execute"},
    {"kind": "execute", "arguments": {"command_line": ""}},
    {"kind": "execute", "arguments": {"command_line": 5}},
    {"kind": "execute", "arguments": {"command_line": "true", "deadline_seconds": 10**7}},
    {"kind": "execute", "arguments": {"command_line": "true", "deadline_seconds": -1}},
    {"kind": "execute", "arguments": {"all": True}},
    {"next_tick": 5},
    {"state": "created"},
    {"instance_uuid": "one"},
]


CHANGES = [
    {name: value for name, value in row.items() if value is not None}
    for row in BAD
    if not {"instance", "kind"} & set(row) and any(value is not None for value in row.values())
]
"""Those of them that make no sense as a change either."""


@pytest.mark.parametrize("wrong", BAD, ids=str)
def test_iv_1_what_makes_no_sense_is_refused_and_makes_nothing(owner: Person, world: World, wrong: dict[str, Any]):
    answer = owner.post(ALL, body(**wrong))
    assert answer.status_code == 400, answer.content
    assert Schedule.objects.count() == 1


@pytest.mark.parametrize("wrong", CHANGES, ids=str)
def test_iv_1_a_change_that_makes_no_sense_changes_nothing(owner: Person, world: World, wrong: dict[str, Any]):
    before = Schedule.objects.values().get()
    assert owner.ask("PATCH", one(world), wrong).status_code == 400
    assert Schedule.objects.values().get() == before


def test_ro_1_an_instance_without_a_side_channel_is_never_asked(owner: Person, world: World):
    Instance.objects.update(side_channels=[])
    answer = owner.post(ALL, body(kind="execute", arguments={"command_line": "true"}))
    assert (answer.status_code, answer.json()["code"]) == (400, "agent.none")


@pytest.mark.parametrize("state", ["deleted", "delete-wait"])
def test_ro_10_an_instance_that_is_going_gets_none(owner: Person, world: World, state: str):
    Instance.objects.update(state=state)
    assert owner.post(ALL, body(instance=str(world.instance.uuid))).status_code == 404


def test_ro_3_a_foreign_one_is_not_there(other: Person, world: World):
    assert other.get(ALL).json() == []
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/trigger"),
        ("GET", "/ticks"),
        ("GET", "/events"),
    ):
        assert other.ask(method, one(world) + path, {}).status_code == 404, (method, path)
    assert other.post(ALL, body(instance=str(world.instance.uuid))).status_code == 404
    assert Schedule.objects.get().state == "created"


def test_ro_11_what_system_makes_belongs_to_the_instances_namespace(system: Person, owner: Person):
    told = system.post(ALL, body(namespace="owner")).json()
    assert told["namespace"] == "owner"
    assert owner.get(f"{ALL}/{told['uuid']}").status_code == 200


def test_se_12_the_ceiling(system: Person, owner: Person):
    system.put("/auth/namespaces/owner/limits", {"schedules": 1})
    answer = owner.post(ALL, body())
    assert (answer.status_code, answer.json()["details"]["stage"]) == (507, "namespace_schedules")
    assert Schedule.objects.count() == 1


def test_au_12_nobody_gets_by_the_clock_what_his_key_may_not_do_at_once(world: World):
    Key.objects.filter(namespace=world.owner).update(scopes=["recurringoperation.write", "instance.write"])
    limited = Person(token_of(world.owner))
    answer = limited.post(ALL, body(kind="execute", arguments={"command_line": "true"}))
    assert (answer.status_code, answer.json()["details"]) == (403, {"missing": ["agentoperation.write"]})
    row = make_schedule(world.instance, kind="execute", arguments={"command_line": "true"})
    wanted = {"arguments": {"command_line": "false"}}
    assert limited.ask("PATCH", f"{ALL}/{row.uuid}", wanted).status_code == 403
    assert limited.post(ALL, body()).status_code == 200


def test_a_repeat_with_the_same_key_makes_one(owner: Person):
    first, second = (owner.post(ALL, body(), idempotency_key="once") for _ in range(2))
    assert first.json() == second.json()
    assert Schedule.objects.filter(name="backup").count() == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "weekly"}, {"name": "weekly"}),
        ({"arguments": {"max_versions": 9}}, {"arguments": {"max_versions": 9}}),
        ({"overlap": "replace"}, {"overlap": "replace"}),
        ({"every_seconds": 600}, {"every_seconds": 600, "cron": None, "timezone": "UTC"}),
        ({"timezone": "Europe/Berlin"}, {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}),
        ({"cron": "5 * * * *"}, {"cron": "5 * * * *", "timezone": "UTC"}),
        ({}, {"name": "nightly"}),
    ],
    ids=str,
)
def test_ro_3_what_is_changed_and_what_stays(owner: Person, world: World, change: Any, expected: Any):
    before = owner.get(one(world)).json()
    told = owner.ask("PATCH", one(world), change).json()
    assert {name: told[name] for name in expected} == expected
    times = {"every_seconds", "cron", "timezone"} & set(change)
    assert (told["next_ticks"] == before["next_ticks"]) is not bool(times)
    if not times:
        return
    assert told["next_ticks"][0] > time.time()


def test_ro_3_pause_and_resume_may_be_repeated(owner: Person, world: World):
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "created"), ("resume", "created")):
        assert owner.post(f"{one(world)}/{verb}").json()["state"] == state
    messages = [event["message"] for event in owner.get(f"{one(world)}/events").json()]
    assert messages == ["recurring operation resumed by owner/k", "recurring operation paused by owner/k"]


def test_ro_3_a_trigger_answers_with_its_operation_and_is_in_the_history(owner: Person, world: World):
    answer = owner.post(f"{one(world)}/trigger", idempotency_key="now")
    assert answer.status_code == 202
    told = answer.json()
    assert answer["Location"].endswith(f"/operations/{told['operation']}")
    again = owner.post(f"{one(world)}/trigger", idempotency_key="now")
    assert (again.status_code, again.json()) == (202, told)
    assert owner.get(f"{one(world)}/ticks").json()[0] == told
    refused = owner.post(f"{one(world)}/trigger")
    assert (refused.status_code, refused.json()["code"]) == (409, "schedule.in_flight")
    assert refused.json()["details"] == {"operations": [told["operation"]]}
    assert Operation.objects.get(pk=told["operation"]).requested_by == "owner/k"


def test_a_trigger_whose_answer_was_lost_is_answered_from_the_rows(owner: Person, world: World):
    told = owner.post(f"{one(world)}/trigger", idempotency_key="now").json()
    named = {"operation": told["operation"], "objects": [told["uuid"]]}
    IdempotencyKey.objects.update(status=DONE, answer=named, headers={})
    again = owner.post(f"{one(world)}/trigger", idempotency_key="now")
    assert (again.status_code, again.json()) == (202, told)


def test_ro_3_the_history_is_paged_newest_first(owner: Person, world: World):
    for number in range(5):
        Tick.objects.create(
            schedule=world.schedule, due=f"2026-01-0{number + 1}T03:00:00Z", state="skipped", reason="r"
        )
    page = owner.get(f"{one(world)}/ticks?limit=2&offset=1")
    assert [tick["due"] % (7 * DAY) for tick in page.json()] == [(1767582000 - n * DAY) % (7 * DAY) for n in range(2)]
    assert 'rel="next"' in page["Link"]
    assert {tick["reason"] for tick in page.json()} == {"r"}


def test_ro_3_one_that_is_deleted_is_gone_from_the_list_and_changes_no_more(owner: Person, world: World):
    assert owner.delete(one(world)).status_code == 200
    assert owner.get(ALL).json() == []
    assert owner.get(one(world)).json()["state"] == "deleted"
    assert owner.get(f"{one(world)}/events").json()[0]["message"] == "recurring operation deleted by owner/k"
    assert owner.delete(one(world)).status_code == 404
    for verb in ("pause", "resume", "trigger"):
        assert owner.post(f"{one(world)}/{verb}").status_code == 404
    assert owner.ask("PATCH", one(world), {"name": "x"}).status_code == 404
    assert [row["uuid"] for row in owner.get(f"{ALL}?state=deleted").json()] == [str(world.schedule.uuid)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["nightly", "b", "c"]),
        ("?kind=execute", ["b"]),
        ("?state=paused", ["c"]),
        ("?name=nightly", ["nightly"]),
        ("?order=-name", ["nightly", "c", "b"]),
        ("?instance=one&limit=1", ["nightly"]),
    ],
)
def test_ro_3_lists_are_filtered_and_ordered(owner: Person, world: World, query: str, names: list[str]):
    make_schedule(world.instance, "b", kind="execute", arguments={"command_line": "true"})
    make_schedule(world.instance, "c", state="paused", paused_reason="on request")
    assert [row["name"] for row in owner.get(ALL + query).json()] == names


def test_a_list_of_another_instance_is_not_there(owner: Person, world: World):
    assert owner.get(f"{ALL}?instance=none").status_code == 404
    assert owner.get(f"{ALL}?state=running").status_code == 400


def test_co_20_operations_are_found_by_the_schedule_that_they_are_of(owner: Person, world: World):
    told = owner.post(f"{one(world)}/trigger").json()
    found = owner.get(f"/clusteroperations?target_object_type=schedule&target_uuid={world.schedule.uuid}").json()
    assert [operation["uuid"] for operation in found] == [told["operation"]]


def test_ro_4_a_schedules_snapshots_are_found_by_it(owner: Person, world: World):
    owner.post(f"/instances/{world.instance.uuid}/snapshot", {})
    told = owner.post(f"{one(world)}/trigger").json()
    made = Operation.objects.get(pk=told["operation"]).params["snapshot"]
    [found] = owner.get(f"/snapshots?recurring_operation={world.schedule.uuid}").json()
    assert (found["uuid"], found["reason"]) == (made, "schedule")
    assert found["recurring_operation"] == str(world.schedule.uuid)
    others = [row for row in owner.get("/snapshots").json() if row["uuid"] != made]
    assert {row["recurring_operation"] for row in others} == {None}
    assert owner.get("/snapshots?recurring_operation=nightly").status_code == 400


def test_the_browsable_page_of_a_schedule(world: World):
    page = sign_in("owner").get(one(world), HTTP_ACCEPT="text/html")
    assert page.status_code == 200
    assert b"nightly" in page.content

"""Our verbs in the unmodified client: installed as a plug-in, run as a command, against a served API."""

import json
from pathlib import Path
from typing import Any

import pytest

from sfweb.models import Instance, NamespaceClaim, Node, NodeCapacity, Operation, Schedule
from tests.api.test_public_client import run
from tests.api.world import World

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]
MODES = ("--pretty", "--simple", "--json")


@pytest.fixture
def served(live_server: Any, transactional_db: None) -> World:
    made = World()
    NodeCapacity.objects.update(limit_cpus=64, limit_memory_mb=64_000, limit_disk_gb=640, largest_cpus=64)
    return made


class Shell:
    """`sf-client` as a namespace's user."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace

    def ok(self, *words: str) -> str:
        code, output = run(self._url, self._namespace, *words)
        assert code == 0, output
        return output

    def json(self, *words: str) -> Any:
        return json.loads(self.ok("--json", *words))

    def refused(self, *words: str) -> str:
        code, output = run(self._url, self._namespace, *words)
        assert code != 0 and "Traceback" not in output, output
        return output


@pytest.fixture
def system(live_server: Any, served: World) -> Shell:
    return Shell(live_server.url, "system")


@pytest.fixture
def owner(live_server: Any, served: World) -> Shell:
    return Shell(live_server.url, "owner")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"name": "asked", "cpus": 1, "memory": 64, "disk": [{"size": 1}], "network": []}))
    return path


@pytest.mark.parametrize("mode", MODES)
def test_operations_are_listed_and_shown_in_each_way(owner: Shell, served: World, mode: str):
    uuid = str(served.operation.uuid)
    assert uuid in owner.ok(mode, "operation", "list")
    assert uuid in owner.ok(mode, "operation", "show", uuid)


def test_why_is_a_sentence_and_below_it_what_that_waits_for(owner: Shell, served: World):
    Operation.objects.filter(pk=served.operation.pk).update(state="failed", error_code="boom", error_message="it broke")
    assert owner.ok("operation", "why", str(served.operation.uuid)).strip() == "failed: boom it broke"
    assert owner.json("operation", "why", str(served.operation.uuid))["waits_for"] == "ended"


def test_an_operation_that_is_not_there_is_told_without_a_traceback(owner: Shell):
    assert "not found" in owner.refused("operation", "why", "00000000-0000-4000-8000-000000000000")


def test_a_wait_ends_with_how_the_operation_ended(owner: Shell, served: World):
    Operation.objects.filter(pk=served.operation.pk).update(state="succeeded")
    assert owner.json("operation", "wait", str(served.operation.uuid))["state"] == "succeeded"
    Operation.objects.filter(pk=served.operation.pk).update(state="failed")
    assert "failed" in owner.refused("operation", "wait", str(served.operation.uuid))


def test_a_node_is_cordoned_and_uncordoned_by_administrators_only(system: Shell, owner: Shell):
    system.ok("node", "cordon", "n1")
    assert Node.objects.get(name="n1").cordoned
    system.ok("node", "uncordon", "n1")
    assert not Node.objects.get(name="n1").cordoned
    owner.refused("node", "cordon", "n1")


def test_a_drain_is_followed_to_its_operation(system: Shell, served: World):
    Instance.objects.all().update(state="deleted")
    told = system.json("node", "drain", "n1", "--no-wait")
    assert told["name"] == "n1"
    assert Operation.objects.filter(kind="node_drain").exists()


def test_a_node_is_removed_with_all_that_it_has_once_that_was_confirmed(system: Shell, served: World):
    told = system.json("node", "remove", "n1", "--yes")
    assert (told["name"], told["cordoned"]) == ("n1", True)
    assert Operation.objects.filter(kind="node_delete").exists()


def test_where_an_instance_would_go_is_told_and_nothing_changes(system: Shell, spec: Path):
    before = Instance.objects.count()
    assert system.json("instance", "diagnose", str(spec))
    assert Instance.objects.count() == before


def test_a_batch_is_all_or_none(owner: Shell, tmp_path: Path):
    spec = {"cpus": 1, "memory": 64, "disk": [{"size": 1}], "network": []}
    path = tmp_path / "batch.json"
    path.write_text(json.dumps([{**spec, "name": "first"}, {**spec, "name": "second"}]))
    assert [row["name"] for row in owner.json("instance", "batch", str(path))] == ["first", "second"]
    path.write_text(json.dumps([{**spec, "name": "third"}, {**spec, "name": "fourth", "memory": 10**7}]))
    owner.refused("instance", "batch", str(path))
    assert not Instance.objects.filter(name="third").exists()
    path.write_text("not JSON")
    assert "is not JSON" in owner.refused("instance", "batch", str(path))


def test_room_is_claimed_for_a_namespace_and_given_free(system: Shell):
    made = system.json("claim", "create", "owner", "--cpus", "4", "--memory", "1024", "--disk", "20")
    assert made["limit"] == {"cpus": 4, "memory_mb": 1024, "disk_gb": 20}
    assert made["uuid"] in system.ok("claim", "list", "owner")
    system.ok("claim", "delete", "owner", made["uuid"])
    assert NamespaceClaim.objects.get(pk=made["uuid"]).state == "deleted"


def test_a_schedule_from_its_first_day_to_its_last(owner: Shell):
    made = owner.json(
        "schedule", "create", "nightly", "one", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin", "--keep", "3"
    )
    uuid = made["uuid"]
    assert (made["kind"], made["arguments"]["max_versions"], len(made["next_ticks"])) == ("snapshot", 3, 5)
    for mode in MODES:
        assert "nightly" in owner.ok(mode, "schedule", "list")
    owner.ok("schedule", "pause", uuid)
    assert owner.json("schedule", "show", uuid)["enabled"] is False
    owner.ok("schedule", "resume", uuid)
    assert owner.json("schedule", "ticks", uuid) == []
    assert owner.json("schedule", "snapshots", uuid) == []
    owner.ok("schedule", "trigger", uuid)
    assert len(owner.json("schedule", "snapshots", uuid)) == 1
    owner.ok("schedule", "delete", uuid)
    assert Schedule.objects.get(pk=uuid).state == "deleted"
    assert "every_seconds" in owner.refused("schedule", "create", "bad", "one")

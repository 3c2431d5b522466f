"""SE-16, SE-17: flower shows what runs where, changes nothing, and nothing secret is to be seen anywhere."""

import base64
import json
from pathlib import Path

import pytest
import redis
import requests

from lab.plane import (
    BROKER_PASSWORD,
    FLOWER_LOGIN,
    FLOWER_PASSWORD,
    SYSTEM_KEY,
    Plane,
    new_instance,
    until,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
PLANTED = "planted-user-data-8f2c"
SSH_KEY = "ssh-ed25519 planted-ssh-key-77aa"


@pytest.fixture(scope="module")
def seen(plane: Plane) -> tuple[Plane, str]:
    """The plane, and a guest with secrets that flower has seen be created on node3 and deleted."""
    with plane.api() as client:
        plane.clear(client)
        body = new_instance("secretive", placed_on="node3", ssh_key=SSH_KEY)
        body["user_data"] = base64.b64encode(PLANTED.encode()).decode()
        made = client.ok("POST", "/instances", body)
        until(lambda: client.ok("GET", f"/instances/{made['uuid']}")["state"] == "created", 20, "instance created")
        until(lambda: seen_of(plane, made["uuid"]), 20, "flower has seen it")
        plane.clear(client)
    return plane, made["uuid"]


def seen_of(plane: Plane, instance: str) -> list[dict]:
    """What flower shows of the tasks that made the instance."""
    return [
        task for task in tasks(plane).values() if task["name"] == "ensure_instance" and instance in str(task["args"])
    ]


@pytest.fixture
def shown(seen: tuple[Plane, str]) -> Plane:
    return seen[0]


def ask(plane: Plane, method: str, path: str, **more: object) -> requests.Response:
    login = tuple(FLOWER_LOGIN.split(":"))
    return requests.request(method, f"http://127.0.0.1:{plane.flower_port}{path}", auth=login, timeout=10, **more)


def tasks(plane: Plane) -> dict[str, dict]:
    answer = ask(plane, "GET", "/api/tasks")
    return answer.json() if answer.status_code == 200 else {}


def test_se_17_flower_names_the_action_and_its_node(seen: tuple[Plane, str]):
    found = seen_of(*seen)
    assert {task["worker"] for task in found} == {"work@node3"}
    assert all(task["args"].startswith("('instance:") for task in found)


def test_what_a_node_took_is_its_own_and_flower_still_sees_it_end(seen: tuple[Plane, str]):
    """Celery would write it into Redis again, for a worker that could take over; here the control plane says it again (EN-3)."""
    until(lambda: {task["state"] for task in seen_of(*seen)} == {"SUCCESS"}, 10, "flower has seen it end")
    assert seen[0].redis_command("KEYS", "unacked.*").split() == []


def test_se_17_a_stranger_sees_nothing_and_an_operator_changes_nothing(shown: Plane):
    assert requests.get(f"http://127.0.0.1:{shown.flower_port}/api/tasks", timeout=10).status_code == 401
    task = next(iter(tasks(shown)))
    for path in (f"/api/task/revoke/{task}", "/api/worker/shutdown/control@test", "/api/task/async-apply/x"):
        assert ask(shown, "POST", path, json={"args": []}).status_code in (403, 404, 405), path


def test_se_17_flowers_user_at_the_broker_puts_nothing_into_a_queue(shown: Plane):
    with redis.Redis.from_url(shown.broker("flower", FLOWER_PASSWORD, shown.redis.port)) as flower:
        for queue in ("control", "node.x", f"node.{shown.node_uuids[0]}"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                flower.lpush(queue, "a message")
        with pytest.raises(redis.exceptions.NoPermissionError):
            flower.flushall()


def test_se_16_nothing_secret_is_in_logs_flower_events_or_the_steps(shown: Plane):
    """What was planted, every key and password, and every node's secret and signing key."""
    secrets = {PLANTED, SSH_KEY, SYSTEM_KEY, BROKER_PASSWORD, FLOWER_PASSWORD, "app-secret", "schema-secret"}
    secrets |= {base64.b64encode(PLANTED.encode()).decode(), shown.environment["SECRET_KEY"]}
    for home in Path(shown.directory).glob("node[0-9]"):
        identity = json.loads((home / "identity.json").read_text())
        secrets |= {identity["secret"], identity["signing_key"], identity["broker_url"].split(":")[2].split("@")[0]}
    places = {f"log of {name}": text for name, text in shown.logs().items()}
    places["flower"] = json.dumps(tasks(shown))
    places["events"] = str(shown.sql("SELECT message, extra FROM events"))
    places["steps"] = str(shown.sql("SELECT request, outcome, reason FROM steps"))
    places["operations"] = str(shown.sql("SELECT params, error_message FROM operations"))
    assert "ensure_instance" in places["flower"] and "instance_create" in places["events"]
    assert [(place, secret) for place, text in places.items() for secret in secrets if secret in text] == []

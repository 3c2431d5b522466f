"""Again and again, with a real guest: the clock takes snapshots, a command is run in it, and all of it ends with the instance."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.test_guests import api

pytestmark = pytest.mark.e2e
NAME, EVERY = "clocked", "/recurring_operations"
KEPT = 2


@pytest.fixture(scope="module")
def guest(cloud: Cloud) -> Iterator[str]:
    network = cloud.sf("network", "create", "ticking", "10.41.0.0/24")["uuid"]
    cloud.create(NAME, "n1", network)
    cloud.settled(NAME)
    cloud.until(
        lambda: api(cloud, "GET", f"/instances/{NAME}"), lambda row: row["agent_state"].startswith("ready"), 120
    )
    yield network
    cloud.sf("network", "delete", network)


def ticked(cloud: Cloud, row: dict[str, Any], count: int, seconds: float = 30) -> list[dict[str, Any]]:
    """The schedule's ticks once so many of them have succeeded."""
    found: list[dict[str, Any]] = cloud.until(
        lambda: api(cloud, "GET", f"{EVERY}/{row['uuid']}/ticks"),
        lambda ticks: [tick["state"] for tick in ticks].count("succeeded") >= count,
        seconds,
    )
    return found


def make(cloud: Cloud, name: str, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = api(cloud, "POST", EVERY, {"name": name, "instance": NAME, **more})
    return row


def test_ro_4_the_clock_and_a_trigger_take_snapshots_and_so_many_stay(cloud: Cloud, guest: str) -> None:
    arguments = {"all": True, "max_versions": KEPT}
    row = make(cloud, "minutely", kind="snapshot", cron="* * * * *", overlap="queue", arguments=arguments)
    assert 0 < row["next_ticks"][0] - time.time() <= 61
    for count in range(1, KEPT + 1):
        api(cloud, "POST", f"{EVERY}/{row['uuid']}/trigger")
        ticked(cloud, row, count)
    ticks = ticked(cloud, row, KEPT + 1, 75)
    by_clock = [tick for tick in ticks if tick["due"] % 60 == 0]
    assert by_clock, ticks
    assert by_clock[0]["created_at"] - by_clock[0]["due"] < 10
    assert len({tick["operation"] for tick in ticks}) == len(ticks)
    paused = api(cloud, "POST", f"{EVERY}/{row['uuid']}/pause")
    assert (paused["enabled"], paused["next_ticks"], paused["consecutive_failures"]) == (False, [], 0)
    kept = api(cloud, "GET", f"/instances/{NAME}/snapshot")
    assert [one["state"] for one in kept] == ["created"] * KEPT
    assert cloud.findings() == ""


def test_ro_4_a_command_runs_in_the_guest(cloud: Cloud, guest: str) -> None:
    row = make(
        cloud, "command", kind="execute", every_seconds=86400, arguments={"command_line": "echo x >> /tmp/ticks"}
    )
    for count in (1, 2):
        api(cloud, "POST", f"{EVERY}/{row['uuid']}/trigger")
        ticked(cloud, row, count)
    done = cloud.sf("instance", "execute", NAME, "wc -l < /tmp/ticks")
    assert done["results"]["0"]["stdout"].strip() == "2"
    failing = make(cloud, "failing", kind="execute", every_seconds=86400, arguments={"command_line": "exit 7"})
    api(cloud, "POST", f"{EVERY}/{failing['uuid']}/trigger")
    told = cloud.until(
        lambda: api(cloud, "GET", f"{EVERY}/{failing['uuid']}"), lambda shown: shown["last_state"] == "failed", 30
    )
    assert (told["last_reason"], told["consecutive_failures"]) == ("return code 7", 1)


def test_ro_10_schedules_go_with_their_instance(cloud: Cloud, guest: str) -> None:
    mine = [row["uuid"] for row in api(cloud, "GET", f"{EVERY}?instance={NAME}")]
    assert len(mine) == 3
    cloud.sf("instance", "delete", NAME)
    cloud.until(
        lambda: [api(cloud, "GET", f"{EVERY}/{one}")["state"] for one in mine], lambda all: set(all) == {"deleted"}, 30
    )
    events = api(cloud, "GET", f"{EVERY}/{mine[0]}/events")
    assert "deleted with its instance" in events[0]["message"]

"""Again and again, with a real guest: the clock takes snapshots, a command is run in it, and all of it ends with the instance."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from lab.first_boot import environment
from tests.e2e.cloud import Cloud
from tests.e2e.test_guests import api

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
NAME, EVERY = "clocked", "/recurring_operations"
PROVE = os.environ.get("PROVE") == "1"
KEPT = 3
TRIGGERED, BY_CLOCK = (0, 5) if PROVE else (KEPT, 1)


def has_agent(cloud: Cloud) -> None:
    cloud.until(
        lambda: api(cloud, "GET", f"/instances/{NAME}"), lambda row: row["agent_state"].startswith("ready"), 120
    )


@pytest.fixture(scope="module")
def guest(cloud: Cloud) -> Iterator[str]:
    network = cloud.sf("network", "create", "ticking", "10.41.0.0/24")["uuid"]
    cloud.create(NAME, "n1", network)
    cloud.settled(NAME)
    has_agent(cloud)
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


def kept_by(cloud: Cloud, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The sets that this schedule made and that are there."""
    found: list[dict[str, Any]] = api(cloud, "GET", f"/snapshots?recurring_operation={row['uuid']}")
    return found


def administration(cloud: Cloud) -> Callable[[str], str]:
    """Signs in as an operator does; what it returns reads a page below /admin/sfweb/."""
    key = environment(cloud.lab)
    session = requests.Session()
    session.get(f"{cloud.lab.api_url}/login", timeout=10)
    token = next(value for name, value in session.cookies.items() if "csrf" in name)
    login = {"namespace": key["SHAKENFIST_NAMESPACE"], "key": key["SHAKENFIST_KEY"], "csrfmiddlewaretoken": token}
    session.post(f"{cloud.lab.api_url}/login", login, timeout=10)

    def page(path: str) -> str:
        answer = session.get(f"{cloud.lab.api_url}/admin/sfweb/{path}", timeout=10)
        assert answer.status_code == 200 and "/login" not in answer.url, (answer.status_code, answer.url)
        return answer.text

    return page


def shown_by_flower(cloud: Cloud) -> list[dict[str, Any]]:
    """Tasks that capture an instance, as the page with flower's list of tasks gets them."""
    wanted = {
        "draw": 1,
        "start": 0,
        "length": 1000,
        "search[value]": "snapshot_instance",
        "order[0][column]": 0,
        "order[0][dir]": "asc",
        "columns[0][data]": "name",
    }
    answer = requests.get(f"http://127.0.0.1:{cloud.lab.api_port + 5}/tasks/datatable", params=wanted, timeout=10)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_ro_4_the_clock_takes_snapshots_and_so_many_stay(cloud: Cloud, guest: str) -> None:
    """With PROVE=1 five minutes of a schedule of one minute; else triggers come first, and the clock once."""
    arguments = {"all": True, "max_versions": KEPT}
    row = make(cloud, "minutely", kind="snapshot", cron="* * * * *", overlap="queue", arguments=arguments)
    assert 0 < row["next_ticks"][0] - time.time() <= 61
    for count in range(1, TRIGGERED + 1):
        api(cloud, "POST", f"{EVERY}/{row['uuid']}/trigger")
        ticked(cloud, row, count)
    ticks = ticked(cloud, row, TRIGGERED + BY_CLOCK, 60 * BY_CLOCK + 15)
    by_clock = sorted(tick["due"] for tick in ticks if tick["due"] % 60 == 0)
    assert len(by_clock) == BY_CLOCK and by_clock[-1] - by_clock[0] == 60 * (BY_CLOCK - 1), ticks
    assert all(tick["created_at"] - tick["due"] < 10 for tick in ticks)
    assert len({tick["operation"] for tick in ticks}) == len(ticks) == TRIGGERED + BY_CLOCK
    paused = api(cloud, "POST", f"{EVERY}/{row['uuid']}/pause")
    assert (paused["enabled"], paused["next_ticks"], paused["consecutive_failures"]) == (False, [], 0)
    kept = kept_by(cloud, row)
    assert [(one["state"], one["reason"], len(one["disks"])) for one in kept] == [("created", "schedule", 1)] * KEPT
    cloud.until(cloud.findings, lambda found: found == "")  # copies of the newest are still being made


def test_ro_4_each_tick_is_seen_in_the_administration_and_its_snapshot_in_flower(cloud: Cloud, guest: str) -> None:
    [row] = api(cloud, "GET", f"{EVERY}?name=minutely")
    operations = [tick["operation"] for tick in api(cloud, "GET", f"{EVERY}/{row['uuid']}/ticks")]
    page = administration(cloud)
    assert "minutely" in page(f"schedule/{row['uuid']}/change/")
    assert page(f"tick/?q={row['uuid']}").count("succeeded") >= len(operations)
    for operation in operations:
        assert "snapshot_instance" in page(f"operation/{operation}/change/")
    captures = [task for task in shown_by_flower(cloud) if row["instance_uuid"] in str(task["args"])]
    assert [task["state"] for task in captures] == ["SUCCESS"] * len(operations)


def test_ro_4_what_is_kept_can_be_restored(cloud: Cloud, guest: str) -> None:
    [row] = api(cloud, "GET", f"{EVERY}?name=minutely")
    kept = kept_by(cloud, row)
    for number, one in enumerate(kept if PROVE else kept[:1], start=2):
        told = api(cloud, "POST", f"/instances/{NAME}/revert", {"snapshot": one["uuid"]})
        ended = cloud.until(
            lambda told=told: api(cloud, "GET", f"/operations/{told['operation']}"),  # type: ignore[misc]
            lambda shown: shown["state"] in ("succeeded", "failed", "cancelled"),
        )
        assert ended["state"] == "succeeded", ended
        cloud.has_booted(NAME, times=number)
    assert {one["uuid"] for one in kept_by(cloud, row)} == {one["uuid"] for one in kept}
    has_agent(cloud)


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

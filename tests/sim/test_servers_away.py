"""What goes on while a server is away or a process doubled, with real processes: EN-17, HC-19, HC-23, BY-8."""

import time

import pytest
import requests

from lab.child import Process
from lab.plane import Client, Plane, new_instance, until

pytestmark = pytest.mark.real


def make_network(client: Client, name: str, netblock: str) -> None:
    network = client.ok("POST", "/networks", {"name": name, "netblock": netblock, "provide_dhcp": True})
    reach(client, f"/networks/{network['uuid']}", "created")


def reach(client: Client, path: str, state: str, seconds: float = 25) -> None:
    until(lambda: client.ok("GET", path)["state"] == state, seconds, f"{path} is {state}")


def last_run(plane: Plane, duty: str) -> str:
    return plane.sql(f"SELECT COALESCE(last_run_at, '') FROM duties WHERE name = '{duty}'")[0][0]


def runs_again(plane: Plane, duty: str, seconds: float) -> None:
    before = last_run(plane, duty)
    until(lambda: last_run(plane, duty) > before, seconds, f"{duty} runs again", pause=0.2)


@pytest.mark.timeout(120)
def test_the_clock_goes_on_after_a_flush(empty: Plane):
    """Rule 4: losing all of Redis costs latency, never work; that holds for the clock's messages too."""
    runs_again(empty, "node_states", 10)
    empty.redis_command("FLUSHALL")
    time.sleep(1)
    for duty in ("node_states", "sweep_operations"):
        runs_again(empty, duty, 10)


@pytest.mark.timeout(180)
def test_without_redis_operations_end_and_the_sweep_goes_on(empty: Plane, client: Client):
    """EN-17: reports alone carry the work, beat's own thread sweeps; when Redis is back, so is the clock."""
    make_network(client, "dark", "10.20.0.0/24")
    empty.redis.stop()
    try:
        made = client.ok("POST", "/instances", new_instance("in-the-dark", "dark"))
        reach(client, f"/instances/{made['uuid']}", "created")
        for _ in range(2):
            runs_again(empty, "sweep_operations", 15)
        client.ok("DELETE", f"/instances/{made['uuid']}")
        reach(client, f"/instances/{made['uuid']}", "deleted")
    finally:
        empty.redis.start()
    runs_again(empty, "node_states", 30)
    assert empty.dead() == []


@pytest.mark.timeout(120)
def test_two_beats_run_no_duty_twice(empty: Plane):
    """EN-17: a second beat is harmless: no duty runs more often than its slot allows."""
    first = empty.processes["beat"]
    second = Process("beat-2", [*first.command, "--pidfile="], first.environment, empty.directory / "beat-2.log")
    second.start()
    try:
        until(lambda: "scheduler" in second.log.read_text(), 20, "the second beat runs")
        began, seen = time.monotonic(), set()
        while time.monotonic() - began < 8:
            seen.add(last_run(empty, "node_states"))
            time.sleep(0.05)
        least = 10 * empty.size.time_scale * 0.7
        assert 4 <= len(seen) <= 8 / least + 1
        assert second.is_alive
    finally:
        second.stop()


@pytest.mark.timeout(180)
def test_a_database_that_restarts_costs_readiness_only(empty: Plane, client: Client):
    """HC-23: /readyz says 503 while MariaDB is away and 200 after, and no process has to be started again for it."""
    urls = [f"http://127.0.0.1:{port}/readyz" for port in (*empty.api_ports, *empty.internal_ports)]

    def statuses() -> set[int]:
        return {requests.get(url, timeout=5).status_code for url in urls}

    assert statuses() == {200}
    empty.mariadb.stop()
    try:
        until(lambda: statuses() == {503}, 30, "nobody is ready", pause=0.5)
        assert {requests.get(url.replace("readyz", "livez"), timeout=5).status_code for url in urls} == {200}
    finally:
        empty.mariadb.start()
    until(lambda: statuses() == {200}, 15, "everybody is ready again", pause=0.2)
    assert empty.dead() == []
    make_network(client, "after", "10.21.0.0/24")
    runs_again(empty, "node_states", 20)


@pytest.mark.timeout(120)
def test_two_of_each_are_equal_and_one_is_enough(empty: Plane, client: Client):
    """BY-8, HC-19: what one API process was told the other shows at once; either may die with an internal one."""
    make_network(client, "pair", "10.22.0.0/24")
    with empty.api(1) as other:
        made = client.ok("POST", "/instances", new_instance("through-the-first", "pair"))
        assert other.ok("GET", f"/instances/{made['uuid']}")["name"] == "through-the-first"
        for name in ("api", "internal"):
            empty.kill(name)
        try:
            reach(other, f"/instances/{made['uuid']}", "created")
            second = other.ok("POST", "/instances", new_instance("through-the-second", "pair"))
            reach(other, f"/instances/{second['uuid']}", "created")
        finally:
            for name in ("api", "internal"):
                empty.restart(name)
    until(lambda: _serves(empty.api_ports[0]), 20, "the first serves again")


def _serves(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False

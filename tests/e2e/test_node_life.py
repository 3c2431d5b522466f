"""A node's life with real guests: drained while they run, cold moves and back, death and return. The tests run in order."""

import itertools
import os
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from lab import node as lab_node
from lab.first_boot import environment
from tests.e2e.cloud import Cloud

pytestmark = pytest.mark.e2e
GUESTS = ("left", "right", "third") if os.environ.get("PROVE") else ("left", "right")
PING_SECONDS = 0.2
SILENCE_SECONDS = 3.0
"""What a guest's address may be silent while it moves (the issue's figure)."""
COUNT = "i=0; while :; do i=$((i+1)); echo $i > /tmp/counter; sleep 0.2; done"


class Api:
    """The addresses that are ours, which the public client does not know."""

    def __init__(self, cloud: Cloud) -> None:
        key = environment(cloud.lab)
        login = {"namespace": key["SHAKENFIST_NAMESPACE"], "key": key["SHAKENFIST_KEY"]}
        token = requests.post(f"{cloud.lab.api_url}/auth", json=login, timeout=10).json()["access_token"]
        self._url, self._headers = cloud.lab.api_url, {"Authorization": f"Bearer {token}"}

    def post(self, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        return requests.post(f"{self._url}{path}", json=body or {}, headers=self._headers, timeout=30)

    def get(self, path: str) -> Any:
        return requests.get(f"{self._url}{path}", headers=self._headers, timeout=30).json()

    def finished(self, cloud: Cloud, answer: requests.Response, seconds: float = 120.0) -> dict[str, Any]:
        """The operation that an answer names, once it has ended."""
        assert answer.status_code == 202, answer.text
        path = "/operations/" + answer.headers["Location"].rpartition("/")[2]
        ended: dict[str, Any] = cloud.until(
            lambda: self.get(path), lambda row: row["state"] not in ("waiting", "running", "unwinding"), seconds
        )
        return ended


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Api:
    return Api(cloud)


@pytest.fixture(scope="module")
def guests(cloud: Cloud, api: Api) -> Iterator[Cloud]:
    """All of them on n1, each with an address that the outside reaches, each counting; n2 carries their network."""
    api.post("/nodes/n1/cordon")
    network = cloud.sf("network", "create", "moving", "10.50.0.0/24")["uuid"]
    api.post("/nodes/n1/uncordon")
    for name in GUESTS:
        cloud.create(name, "n1", network)
    for name in GUESTS:
        assert cloud.settled(name)["state"] == "created"
        cloud.has_booted(name)
        cloud.sf("interface", "float", cloud.show(name)["network_interfaces"][0]["uuid"])
        assert cloud.ask(name, f"echo kept > /mnt/root/mark; sync; ({COUNT}) > /dev/null 2>&1 &")[0] == 0
    yield cloud
    for name in GUESTS:
        cloud.sf("instance", "delete", name)
    cloud.sf("network", "delete", "moving")
    assert "agree" in cloud.until(lambda: cloud.findings() or "agree", lambda told: told == "agree", 60)


def floating(cloud: Cloud, name: str) -> str:
    return str(cloud.show(name)["network_interfaces"][0]["floating"])


def counter(cloud: Cloud, name: str) -> int:
    return int(cloud.ask(name, "cat /tmp/counter")[1].strip() or 0)


class Listener:
    """Pings an address from the outside network, and tells the longest time without an answer."""

    def __init__(self, cloud: Cloud, address: str) -> None:
        command = ["ip", "netns", "exec", cloud.lab.outside, "ping", "-D", "-n", "-i", str(PING_SECONDS), address]
        self._ping = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._began = time.time()

    def silence(self) -> float:
        self._ping.terminate()
        heard = self._ping.communicate(timeout=10)[0]
        moments = [float(found) for found in re.findall(r"^\[([\d.]+)\].*icmp_seq", heard, re.MULTILINE)]
        assert moments, "it never answered"
        edges = [self._began, *moments, time.time()]
        return max(after - before for before, after in itertools.pairwise(edges))


def test_drain_moves_running_guests_which_never_stop_counting(guests: Cloud, api: Api) -> None:
    for name in GUESTS:
        guests.until(lambda name=name: ping(guests, floating(guests, name)), bool, 30)
    before = {name: counter(guests, name) for name in GUESTS}
    others = [row["name"] for row in guests.sf("instance", "list")["instances"] if row["node"] == "n1"]
    listeners = {name: Listener(guests, floating(guests, name)) for name in GUESTS}
    began = time.monotonic()
    ended = api.finished(guests, api.post("/nodes/n1/drain"))
    took = time.monotonic() - began
    silences = {name: round(listener.silence(), 2) for name, listener in listeners.items()}
    assert ended["state"] == "succeeded", ended
    print(f"{len(others)} guests left n1 within {took:.1f} s, longest silence of each: {silences}")
    assert max(silences.values()) <= SILENCE_SECONDS
    for name in GUESTS:
        assert (guests.show(name)["node"], guests.show(name)["power_state"]) == ("n2", "on")
        assert counter(guests, name) > before[name] + 5
        assert guests.ask(name, "cat /mnt/root/mark") == (0, "kept\n")
        assert str(guests.sf("instance", "consoledata", name, "200000")).count("GUEST-READY") == 1
    assert api.get("/nodes/n1")["cordoned"]
    assert not list((guests.lab.node(1).state / "instances").glob("*"))


def ping(cloud: Cloud, address: str) -> bool:
    command = ["ip", "netns", "exec", cloud.lab.outside, "ping", "-n", "-c", "1", "-W", "1", address]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_what_it_writes_after_the_move_is_on_the_other_node(guests: Cloud) -> None:
    name = GUESTS[0]
    assert guests.ask(name, "echo more > /mnt/root/more; sync")[0] == 0
    guests.sf("instance", "poweroff", name)
    guests.with_power(name, "off")
    guests.sf("instance", "poweron", name)
    guests.has_booted(name, times=2)
    assert guests.ask(name, "cat /mnt/root/mark /mnt/root/more") == (0, "kept\nmore\n")


def test_back_cold_and_a_drain_without_room_says_why(guests: Cloud, api: Api) -> None:
    ended = api.finished(guests, api.post("/nodes/n2/drain"))
    assert (ended["state"], ended["error"]["code"]) == ("failed", "drain.incomplete"), ended
    assert "no node has room" in ended["error"]["message"]
    for node in ("n1", "n2"):
        assert api.post(f"/nodes/{node}/uncordon").json()["cordoned"] is False
    name = GUESTS[0]
    ended = api.finished(guests, api.post(f"/instances/{name}/migrate", {"placed_on": "n1", "live": False}))
    assert ended["state"] == "succeeded", ended
    assert guests.show(name)["node"] == "n1"
    guests.with_power(name, "on")
    guests.has_booted(name, times=3)
    assert guests.ask(name, "cat /mnt/root/mark /mnt/root/more") == (0, "kept\nmore\n")


def test_one_guest_back_while_it_runs(guests: Cloud, api: Api) -> None:
    name = GUESTS[1]
    before = counter(guests, name)
    ended = api.finished(guests, api.post(f"/instances/{name}/migrate", {"live": True}))
    assert ended["state"] == "succeeded", ended
    assert guests.show(name)["node"] == "n1"
    assert counter(guests, name) > before


def test_rebuilt_after_the_death_of_its_node_which_returns_and_tidies_up_first(guests: Cloud, api: Api) -> None:
    name, address = GUESTS[0], guests.address(GUESTS[0])
    mac = guests.show(name)["network_interfaces"][0]["macaddr"]
    identity = guests.show(name)["uuid"]
    assert api.post(f"/instances/{name}/snapshot", {"all": True}).status_code == 200
    guests.until(lambda: copies(api, identity), lambda found: found and min(found) == 2, 60)
    guests.tree("n1").kill()
    refused = api.post(f"/instances/{name}/rebuild")
    assert (refused.status_code, refused.json()["code"]) == (409, "node.not_dead")
    guests.until(lambda: state_of(api, "n1"), lambda state: state == "missing", 60)
    guests.manage("node_is_dead", "n1", "--again", "n1")
    began = time.monotonic()
    ended = api.finished(guests, api.post(f"/instances/{name}/rebuild"))
    assert ended["state"] == "succeeded", ended
    assert (guests.show(name)["node"], guests.show(name)["uuid"], guests.address(name)) == ("n2", identity, address)
    assert guests.show(name)["network_interfaces"][0]["macaddr"] == mac
    guests.has_booted(name)
    print(f"rebuilt and booted {time.monotonic() - began:.1f} s after it was asked for")
    assert guests.ask(name, "cat /mnt/root/mark /mnt/root/more") == (0, "kept\nmore\n")

    for row in guests.sf("instance", "list")["instances"]:
        if row["node"] == "n1":
            ended = api.finished(guests, api.post(f"/instances/{row['uuid']}/rebuild", {"blank": True}))
            assert ended["state"] == "succeeded", ended

    home = guests.lab.node(1)
    copy = home.state / "instances" / identity
    assert copy.exists()
    guests.manage("enrol_node", "--returned", "n1")
    home.identity.unlink()
    assert lab_node.start(home)
    guests.until(lambda: state_of(api, "n1"), lambda state: state == "created", 60)
    assert not copy.exists()
    assert guests.show(name)["power_state"] == "on"


def state_of(api: Api, name: str) -> str:
    return str(api.get(f"/nodes/{name}")["state"])


def copies(api: Api, instance: str) -> list[int]:
    """On how many nodes each blob of the instance's snapshots is."""
    rows = api.get(f"/instances/{instance}/snapshot")
    return [len(api.get(f"/blobs/{row['blob_uuid']}")["locations"]) for row in rows]

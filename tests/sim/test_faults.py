"""Processes die, Redis forgets, messages are lost and doubled while instances come and go: every operation ends, once.

Everything with real MariaDB, Redis, gunicorn, Celery and agents, only the machines are FakeHosts. The moments are drawn
from SEED. `PROVE=1` runs each fault alone through 500 operations instead.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from lab.plane import Client, Plane, until
from lab.simulation_report import happened_twice
from tests.sim.workload import User

pytestmark = pytest.mark.real

SEED = int(os.environ.get("SEED", "20261124"))
PROVE = os.environ.get("PROVE") == "1"
USERS = 4
NETWORKS = 4
CREATES = 40
PAUSE_SECONDS = 1.5
PROVE_CREATES = 66
"""For each user; with the deletes that makes 504 operations of users."""
CALM_SECONDS = (0.5, 3.5)
DOWN_SECONDS = (0.3, 1.5)
REDIS_AWAY_SECONDS = 20.0
ONCE_A_LIFE = ("start_domain", "create_disk", "write_config_drive", "stop_domain", "remove_instance_files")
"""No machine here loses anything by itself and no wish but the two of its life is ever made for an instance: present, then
absent. So each of these verbs may change something once at most, and nothing may follow the removal of its files."""


def _kill(*roles: str) -> Callable[[Plane, random.Random], None]:
    """SIGKILL for one of the processes in `roles`, which its supervisor starts again a moment later."""

    def strike(plane: Plane, chance: random.Random) -> None:
        number = chance.randrange(1, plane.size.nodes + 1)
        name = chance.choice(roles).format(node=f"node{number}")
        plane.kill(name)
        time.sleep(chance.uniform(*DOWN_SECONDS))
        plane.restart(name)

    return strike


def _flush(plane: Plane, chance: random.Random) -> None:
    plane.redis_command("FLUSHALL")


def _redis_away(plane: Plane, chance: random.Random) -> None:
    plane.redis.stop()
    time.sleep(REDIS_AWAY_SECONDS * plane.size.time_scale)
    plane.redis.start()


def _mariadb_restarts(plane: Plane, chance: random.Random) -> None:
    plane.mariadb.stop()
    plane.mariadb.start()


def _nothing(plane: Plane, chance: random.Random) -> None:
    """Messages are lost and doubled all the time; that is the fault."""


FAULTS: dict[str, Callable[[Plane, random.Random], None]] = {
    "api killed": _kill("api", "api-2"),
    "internal killed": _kill("internal", "internal-2"),
    "control worker killed": _kill("control"),
    "beat killed": _kill("beat"),
    "agent worker killed": _kill("{node}-work", "{node}-work-bulk"),
    "reporter killed": _kill("{node}-report"),
    "broker flushed": _flush,
    "broker away": _redis_away,
    "database restarted": _mariadb_restarts,
    "messages lost and doubled": _nothing,
}


class Storm(threading.Thread):
    """Strikes with each of `faults`, in an order and at moments drawn from the seed, again and again until `over`."""

    def __init__(self, plane: Plane, faults: list[str], seed: int) -> None:
        super().__init__(name="storm", daemon=True)
        self._plane = plane
        self._faults = faults
        self._chance = random.Random(seed)
        self.over = threading.Event()
        self.struck: Counter[str] = Counter()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while True:
                for fault in self._chance.sample(self._faults, len(self._faults)):
                    if self.over.wait(self._chance.uniform(*CALM_SECONDS)):
                        return
                    FAULTS[fault](self._plane, self._chance)
                    self.struck[fault] += 1
        except Exception as error:
            self.error = error


def _make_networks(client: Client) -> list[str]:
    made = [
        client.ok(
            "POST", "/networks", {"name": f"net{number}", "netblock": f"10.{number}.0.0/22", "provide_dhcp": True}
        )
        for number in range(NETWORKS)
    ]
    for network in made:
        path = f"/networks/{network['uuid']}"
        until(lambda path=path: client.ok("GET", path)["state"] == "created", 30, "network created")
    return [network["uuid"] for network in made]


def _run(plane: Plane, faults: list[str], creates: int, user_pause: float) -> list[User]:
    """Users at work in the storm; returns them when they are done and every process runs again."""
    with plane.api() as client:
        networks = _make_networks(client)
    urls = [f"http://127.0.0.1:{port}" for port in plane.api_ports]
    users = [User(urls, networks, SEED + number, creates, user_pause) for number in range(USERS)]
    storm = Storm(plane, faults, SEED)
    if "messages lost and doubled" in faults:
        plane.processes["broker"].signal(signal.SIGUSR1)
    for thread in (*users, storm):
        thread.start()
    for user in users:
        user.join()
    storm.over.set()
    storm.join()
    plane.processes["broker"].signal(signal.SIGUSR2)
    print(f"seed {SEED}: {dict(storm.struck)}, {dict(sum((user.answers for user in users), Counter()))}")
    assert storm.error is None, storm.error
    assert [user.error for user in users if user.error] == []
    assert plane.dead() == []
    return users


def _check(plane: Plane, client: Client, users: list[User]) -> None:
    began = time.monotonic()
    until(lambda: not plane.open_operations(), 60, f"every operation ends: {plane.open_operations()[:5]}", pause=0.3)
    print(f"settled {time.monotonic() - began:.1f} s after the last request")
    assert happened_twice(plane.effects(), ONCE_A_LIFE, ONCE_A_LIFE) == []
    shown = {row["uuid"]: row for row in client.ok("GET", "/instances?all=true")}
    alive = {instance for user in users for instance in user.alive}
    gone = {instance for user in users for instance in user.gone}
    assert {uuid: shown[uuid]["state"] for uuid in alive if shown[uuid]["state"] != "created"} == {}
    assert {uuid: shown[uuid]["state"] for uuid in gone if shown[uuid]["state"] != "deleted"} == {}
    names = Counter(row["name"] for row in shown.values() if row["name"].startswith("user-"))
    assert {name: count for name, count in names.items() if count > 1} == {}
    assert plane.audit() == []


@pytest.mark.timeout(400)
@pytest.mark.skipif(PROVE, reason="each fault alone instead")
def test_everything_at_once_loses_and_doubles_nothing(empty: Plane, client: Client):
    """EN-3, EN-4, EN-6, EN-9, EN-17, HC-19: all faults while 160 instances come and most of them go."""
    users = _run(empty, sorted(FAULTS), CREATES, PAUSE_SECONDS)
    _check(empty, client, users)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not PROVE, reason="only with PROVE=1")
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_one_fault_alone(empty: Plane, client: Client, fault: str):
    """500 operations of users (creates and deletes) with one kind of fault, again and again."""
    users = _run(empty, [fault], PROVE_CREATES, 0.2)
    _check(empty, client, users)

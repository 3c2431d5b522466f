"""Two beats and two control workers are killed again and again while schedules are due: each slot has one operation (RO-5).

Real processes; only the machines are FakeHosts. The moments are drawn from SEED.
"""

import os
import random
import time
from collections import Counter

import pytest

from lab.plane import CONTROL_WORKER, Client, Plane, new_instance, until

pytestmark = pytest.mark.real
SEED = int(os.environ.get("SEED", "20261124"))
INSTANCES, ROUNDS = 5, 3
SECOND_WORKER = [word.replace("control@", "control2@") for word in CONTROL_WORKER]


@pytest.fixture
def doubled(empty: Plane):
    """A second beat, with a store of its own, and a second control worker."""
    for name, role, words in (("beat-2", "beat", ["beat"]), ("control-2", "control", SECOND_WORKER)):
        empty.add(empty.celery(name, role, *words)).start()
    yield empty
    for name in ("beat-2", "control-2"):
        empty.kill(name)
        del empty.processes[name]


def due(plane: Plane) -> None:
    plane.sql(
        "UPDATE recurring_operations SET next_tick = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE state = 'created'"
    )


def is_idle(plane: Plane) -> bool:
    open_ticks = "SELECT COUNT(*) FROM recurring_operation_ticks WHERE state = 'started'"
    overdue = "SELECT COUNT(*) FROM recurring_operations WHERE state = 'created' AND next_tick <= UTC_TIMESTAMP(6)"
    return plane.sql(open_ticks) == plane.sql(overdue) == [["0"]]


def test_ro_5_two_beats_two_workers_and_a_killer(doubled: Plane, client: Client):
    chance, plane = random.Random(SEED), doubled
    rows = [client.ok("POST", "/instances", new_instance(f"s{number}")) for number in range(INSTANCES)]
    until(lambda: not plane.open_operations(), 60, "every instance is there", pause=0.2)
    for row in rows:
        wanted = {"name": "often", "instance": row["uuid"], "kind": "snapshot", "every_seconds": 3600}
        client.ok("POST", "/recurring_operations", wanted | {"arguments": {"all": True, "max_versions": 2}})
    before = Counter(plane.effects())
    for _ in range(ROUNDS):
        due(plane)
        time.sleep(chance.uniform(0, 0.8))
        for name in chance.sample(["beat", "beat-2", "control", "control-2"], 2):
            plane.kill(name)
            time.sleep(chance.uniform(0, 0.3))
            plane.restart(name)
        until(lambda: is_idle(plane), 40, "every tick has ended", pause=0.2)
    found = client.ok("GET", "/recurring_operations")
    ticks = [tick for row in found for tick in client.ok("GET", f"/recurring_operations/{row['uuid']}/ticks")]
    assert Counter(tick["state"] for tick in ticks) == {"succeeded": INSTANCES * ROUNDS}
    assert len({tick["operation"] for tick in ticks}) == INSTANCES * ROUNDS
    [[operations]] = plane.sql("SELECT COUNT(*) FROM operations WHERE kind = 'instance_snapshot'")
    assert int(operations) == INSTANCES * ROUNDS
    captured = Counter(
        effect for effect in (Counter(plane.effects()) - before).elements() if effect[1] == "snapshot_disks"
    )
    assert sum(captured.values()) == INSTANCES * ROUNDS
    for row in rows:
        kept = client.ok("GET", f"/instances/{row['uuid']}/snapshot")
        assert [one["state"] for one in kept] == ["created"] * 2, "so many of each disk stay"
        client.ok("DELETE", f"/instances/{row['uuid']}")
    until(lambda: not plane.open_operations(), 60, "every instance is gone", pause=0.2)
    gone = "SELECT COUNT(*) FROM recurring_operations WHERE state <> 'deleted'"
    until(lambda: plane.sql(gone) == [["0"]], 20, "the schedules have gone with their instances", pause=0.2)
    end = time.monotonic() + 40  # copies of snapshots, and their ends, are operations of other duties
    while (found := plane.audit()) and time.monotonic() < end:
        time.sleep(1)
    assert found == [], plane.open_operations()

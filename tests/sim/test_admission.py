"""SC-1, SC-2: as many are admitted as there are places, however many come at once."""

import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from lab.child import CODE
from lab.plane import Client, Plane, until

pytestmark = pytest.mark.real

PLACES_A_NODE = 4
CROWDS, EACH = 8, 8
GATHER_SECONDS = 2.5


def rush(plane: Plane, memory: int) -> list[tuple[int, dict]]:
    """64 creates from eight processes at one moment; what each was answered."""
    start = str(time.time() + GATHER_SECONDS)
    urls = [f"http://127.0.0.1:{port}" for port in plane.api_ports]
    command = [sys.executable, "-m", "tests.sim.crowd", start, str(EACH), str(memory), *urls]
    crowds = [subprocess.Popen(command, cwd=CODE, stdout=subprocess.PIPE) for _ in range(CROWDS)]
    return [(status, body) for crowd in crowds for status, body in json.loads(crowd.communicate(timeout=90)[0])]


@pytest.mark.timeout(150)
def test_exactly_as_many_are_admitted_as_there_are_places(empty: Plane, client: Client):
    """SC-2, SC-14: 64 simultaneous creates for 20 places: 20 placed, 44 answered 507 with the reason of every node."""
    network = client.ok("POST", "/networks", {"name": "crowd", "netblock": "10.9.0.0/24", "provide_dhcp": True})
    until(lambda: client.ok("GET", f"/networks/{network['uuid']}")["state"] == "created", 20, "network created")
    answers = rush(empty, empty.size.room[1] // PLACES_A_NODE)
    assert Counter(status for status, _ in answers) == {200: 20, 507: 44}
    for status, body in answers:
        if status == 507:
            nodes = body["details"]["nodes"]
            assert {node["node"] for node in nodes} == {f"node{number}" for number in range(1, 6)}
            assert {node["stage"] for node in nodes} <= {"sufficient_idle_memory", "capacity_guard"}

    until(lambda: not empty.open_operations(), 40, "every operation has ended", pause=0.5)
    used = empty.sql("SELECT used_cpus, used_memory_mb, used_disk_gb FROM node_capacity")
    assert used == [[str(PLACES_A_NODE), str(empty.size.room[1]), str(PLACES_A_NODE)]] * 5
    assert empty.sql("SELECT state, COUNT(*) FROM instances WHERE state != 'deleted' GROUP BY state") == [
        ["created", "20"]
    ]
    count = "SELECT COUNT(*) FROM"
    assert empty.sql(f"{count} resource_pool_allocations WHERE pool_name = 'mac' AND owner_type != ''") == [["20"]]
    assert empty.sql(f"{count} addresses WHERE kind = 'instance'") == [["20"]]
    assert empty.audit() == []

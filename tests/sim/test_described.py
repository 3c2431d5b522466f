"""A running cluster is asked everything that its OpenAPI document allows, and much that it does not, and answers as described.

No 500 but where the document names one, no status that it does not name, no body of another shape. The requests are
schemathesis' own, by a fixed seed; in the addresses and bodies stand objects that are there, so that they go deep.
`PROVE=1` asks thousands.
"""

import os
import random
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from lab.plane import Client, Plane, Size, new_instance, until

pytestmark = pytest.mark.real

SEED = 20260704
PROVE = bool(os.environ.get("PROVE"))
EXAMPLES = {GenerationMode.POSITIVE: 60 if PROVE else 6, GenerationMode.NEGATIVE: 25 if PROVE else 3}
REAL = 0.85
"""So often a place in an address names something that is there."""
CONFORM = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
ORDER = {"get": 0, "post": 1, "put": 2, "patch": 3, "delete": 4}
IMAGE = "https://images.example.org/tiny.qcow2"
TAKEN = (
    *("instances", "networks", "interfaces", "artifacts", "label", "snapshots", "agentoperations"),
    *("recurring_operations", "auth"),
)
"""A delete at these may leave nothing to delete for the next."""
LAST = ("/auth/namespaces/{namespace}", "/nodes/{ref}")
"""Deleting these takes others away with them."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Plane]:
    made = Plane(Size(nodes=3))
    try:
        made.start()
        for number in range(1, 4):
            made.serve(number)
        yield made
    finally:
        made.close()


class Things:
    """Objects of every kind in the namespace `fuzz`, made anew when requests have taken them away."""

    def __init__(self, plane: Plane) -> None:
        self.client: Client = plane.api()
        self.known: dict[str, list[str]] = {}
        self._number = 0

    def ready(self) -> None:
        """Something of every kind is there."""
        ok = self.client.ok
        self._number += 1
        if "fuzz" not in [row["name"] for row in ok("GET", "/auth/namespaces")]:
            ok("POST", "/auth/namespaces", {"namespace": "fuzz"})
        ok("POST", "/auth/namespaces/fuzz/keys", {"key_name": "k", "key": "a long secret of it"})
        self.known["claims"] = [self._claim()]
        fuzz = {"namespace": "fuzz"}
        net = ok("POST", "/networks", {"name": f"net{self._number}", "netblock": "10.0.0.0/24", **fuzz})
        until(lambda: ok("GET", f"/networks/{net['uuid']}")["state"] == "created", 20, "the network is there")
        made = new_instance(f"guest{self._number}", net["uuid"], **fuzz)
        instance = ok("POST", "/instances", made)
        until(lambda: ok("GET", f"/instances/{instance['uuid']}")["state"] == "created", 20, "the instance is there")
        instance = ok("GET", f"/instances/{instance['uuid']}")
        label = ok("POST", f"/label/fuzz/stable{self._number}", {"blob_uuid": instance["disks"][0]["blob_uuid"]})
        ok("POST", f"/instances/{instance['uuid']}/snapshot", {"all": True})
        self.known = {
            "claims": self.known["claims"],
            "instances": [instance["uuid"], instance["name"]],
            "networks": [net["uuid"], net["name"], "floating"],
            "interfaces": [row["uuid"] for row in instance["interfaces"]],
            "artifacts": [row["uuid"] for row in ok("GET", "/artifacts")],
            "blobs": [row["uuid"] for row in ok("GET", "/blobs")],
            "snapshots": [row["uuid"] for row in ok("GET", "/snapshots")],
            "nodes": ["node1", "node2"],
            "upload": self.known.get("upload") or [ok("POST", "/upload")["uuid"]],
            "operations": [row["uuid"] for row in ok("GET", "/operations?limit=5")],
            "label": [f"fuzz/{label['name']}", f"new{self._number}"],
        }
        asked = self.client.call("POST", f"/instances/{instance['uuid']}/agent/execute", {"command_line": "true"})
        self.known["agentoperations"] = [asked.json().get("uuid", "none")]
        self.known["clusteroperations"] = self.known["operations"]
        nightly = {"name": f"nightly{self._number}", "kind": "snapshot", "cron": "0 3 * * *"}
        made = ok("POST", "/recurring_operations", {**nightly, "instance": instance["uuid"]})
        self.known["recurring_operations"] = [made["uuid"]]

    def _claim(self) -> str:
        """Large enough again, whatever requests have made of it; there at all only from the first time on."""
        there, room = self.client.ok("GET", "/auth/namespaces/fuzz/claims"), {"cpus": 40, "memory": 9000, "disk": 400}
        if there:
            return str(self.client.ok("PUT", f"/auth/namespaces/fuzz/claims/{there[0]['uuid']}", room)["uuid"])
        return str(self.client.ok("POST", "/auth/namespaces/fuzz/claims", room)["uuid"])

    def place(self, path: str, name: str) -> str | None:
        """Something that is there for the placeholder of that name in an address."""
        plural = path.split("/")[1]
        words = {
            "namespace": ["fuzz"],
            "external_namespace": ["system", "fuzz"],
            "key_name": ["k", "new"],
            "key": ["tags", "a"],
            "device": ["vda", "vdc"],
            "claim": self.known["claims"],
            "address": ["10.0.0.2", "10.0.0.1", "192.168.20.3"],
            "offset": ["0", "3"],
            "index": ["1"],
            "algorithm": ["sha512", "sha1"],
            "checksum": ["ab" * 64],
            "op_type": ["instance_create", "network_create"],
            "name": self.known["label"] if plural == "label" else ["published"],
            "ref": ["fuzz"] if plural == "auth" else self.known.get(plural, []),
        }.get(name, [])
        return random.choice(words) if words else None

    def fill(self, body: Any) -> None:
        """Names of things that are there, where a body names things."""
        if not isinstance(body, dict):
            return
        members = {
            "blob_uuid": self.known["blobs"],
            "upload_uuid": self.known["upload"],
            "network_uuid": self.known["networks"],
            "artifact": self.known["artifacts"],
            "snapshot": self.known["snapshots"],
            "namespace": ["fuzz"],
            "base": [IMAGE, f"sf://blob/{self.known['blobs'][0]}"],
            "url": [IMAGE],
            "netblock": ["10.1.0.0/24", "10.2.0.0/29"],
            "name": [f"n{uuid.uuid4().hex[:6]}"],
            "cpus": [1],
            "memory": [64],
            "size": [1, 2],
            "bus": ["virtio", "scsi"],
            "type": ["disk"],
            "model": ["virtio", "cirrus"],
            "macaddress": ["02:00:00:00:aa:01"],
            "configdrive": ["none"],
            "side_channels": [["sf-agent"]],
            "placed_on": ["node1"],
            "key_name": ["new"],
            "key": ["a long secret of it"],
            "external_namespace": ["system"],
            "path": ["/etc/motd"],
            "value": ["10.0.0.9"],
            "target_object_type": ["instance"],
            "target_type": ["instance"],
            "target_uuid": self.known["instances"][:1],
            "instance": self.known["instances"][:1],
            "kind": ["snapshot"],
            "cron": ["30 4 * * 1"],
            "overlap": ["skip"],
        }
        for name, value in body.items():
            if name in members and random.random() < REAL:
                body[name] = random.choice(members[name])
            elif isinstance(value, dict | list):
                for inner in value if isinstance(value, list) else [value]:
                    self.fill(inner)


class Asked:
    """Sends generated requests and remembers how each address answered."""

    def __init__(self, plane: Plane, things: Things) -> None:
        self.plane, self.things = plane, things
        self.client = plane.api()
        self.client.sign_in()
        self.statuses: dict[str, Counter[int]] = {}
        self.wrong: list[str] = []

    def ask(self, case: Case) -> None:
        self._aim(case)
        headers = dict(self.client.session.headers)
        answer = case.call(base_url=self.client.url, headers=headers, timeout=60)
        label = f"{case.method} {case.path}"
        self.statuses.setdefault(label, Counter())[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=[CHECKS.get_one(name) for name in CONFORM])
        except* Exception as failures:
            for failure in failures.exceptions:
                said = f"{answer.status_code} {answer.content[:300]!r}"
                self.wrong.append(f"{label} {case.path_parameters} {case.query} {case.body!r}: {failure}: {said}")

    def _aim(self, case: Case) -> None:
        for name, value in list(case.path_parameters.items()):
            there = self.things.place(case.path, name) if random.random() < REAL else None
            case.path_parameters[name] = there or re.sub(r"[/.?#%\s]|[^\x21-\x7e]", "x", str(value)) or "x"
        if random.random() < REAL:
            self.things.fill(case.body)
            self.things.fill(case.query)


def _run(asked: Asked, operation: Any, mode: GenerationMode) -> None:
    @seed(SEED)
    @settings(
        max_examples=EXAMPLES[mode],
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def test(case: Case) -> None:
        asked.ask(case)

    with suppress(Unsatisfiable):  # there is nothing that one could say wrongly to it
        test()


@pytest.mark.timeout(3000 if PROVE else 240)
def test_the_document_is_true(cluster: Plane):
    random.seed(SEED)
    things = Things(cluster)
    things.ready()
    asked = Asked(cluster, things)
    document = things.client.ok("GET", "/openapi.json")
    described = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in described.get_all_operations()]
    operations.sort(key=lambda one: (one.path in LAST and one.method == "delete", ORDER[one.method]))
    for operation in operations:
        if operation.method == "delete" and operation.path.split("/")[1] in TAKEN and "metadata" not in operation.path:
            things.ready()
        for mode in EXAMPLES:
            _run(asked, operation, mode)
    assert not asked.wrong, "\n".join(dict.fromkeys(asked.wrong))
    deep = {label for label, counts in asked.statuses.items() if counts[200] + counts[202]}
    assert len(asked.statuses) == len(operations)
    shallow = sorted(set(asked.statuses) - deep)
    assert len(deep) > 0.6 * len(operations), "\n".join(f"{label} {dict(asked.statuses[label])}" for label in shallow)

"""A node that has been broken into, and what it can do: harm what runs on it, and nothing else (SE-1 to SE-6).

The test has everything that such a node has: its identity file with secret, signing key and broker user.
"""

import dataclasses
import json
import time
from uuid import uuid4

import pytest
import redis
import requests
from celery import Celery
from kombu import Queue

from lab.plane import Client, Plane, new_instance, until
from nodeagent.wire import Outcome, Report, StepMessage, dump, ticket

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@dataclasses.dataclass(frozen=True)
class Broken:
    """What the intruder found on one node."""

    plane: Plane
    number: int

    @property
    def home(self):
        return self.plane.directory / f"node{self.number}"

    @property
    def identity(self) -> dict:
        return json.loads((self.home / "identity.json").read_text())

    @property
    def uuid(self) -> str:
        return self.identity["node"]

    def post(self, path: str, body: object, secret: str | None = None) -> requests.Response:
        credential = f"Node {self.uuid}:{secret or self.identity['secret']}"
        url = f"http://127.0.0.1:{self.plane.internal_ports[0]}{path}"
        return requests.post(url, json=body, headers={"Authorization": credential}, timeout=10)

    def incarnation(self) -> str:
        return self.plane.sql(f"SELECT incarnation FROM node_credentials WHERE node_id = '{self.row}'")[0][0]

    @property
    def row(self) -> str:
        return self.plane.sql(f"SELECT uuid FROM nodes WHERE name = 'node{self.number}'")[0][0]


@pytest.fixture
def broken(empty: Plane) -> Broken:
    return Broken(empty, 1)


@pytest.fixture
def victim(empty: Plane) -> Broken:
    return Broken(empty, 2)


@pytest.fixture
def open_step(empty: Plane, client: Client):
    """(token, instance) of a step on node2, whose worker is dead, so that it stays open; ended afterwards."""
    network = client.ok("POST", "/networks", {"name": "se", "netblock": "10.30.0.0/24", "provide_dhcp": True})
    until(lambda: client.ok("GET", f"/networks/{network['uuid']}")["state"] == "created", 20, "network created")
    warm = client.ok("POST", "/instances", new_instance("warm", "se", placed_on="node2"))
    until(lambda: client.ok("GET", f"/instances/{warm['uuid']}")["state"] == "created", 20, "first instance created")
    empty.kill("node2-work")
    made = client.ok("POST", "/instances", new_instance("held", "se", placed_on="node2", user_data="c2VjcmV0"))
    query = "SELECT token FROM steps WHERE state = 'sent' AND action = 'ensure_instance'"
    yield until(lambda: empty.sql(query), 20, "the step is sent")[0][0], made["uuid"]
    empty.restart("node2-work")
    until(lambda: client.ok("GET", f"/instances/{made['uuid']}")["state"] == "created", 25, "the held one is created")


def test_se_1_its_broker_user_reaches_its_own_queues_only(broken: Broken, victim: Broken):
    """The helper-level rules are in tests/reconcilers/test_broker_users.py; this is the user that the agent itself uses."""
    with redis.Redis.from_url(broken.identity["broker_url"]) as own:
        assert own.ping()
        for queue in ("control", f"node.{victim.uuid}", f"node.{victim.uuid}.bulk"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                own.lpush(queue, "a message")
            with pytest.raises(redis.exceptions.NoPermissionError):
                own.lrange(queue, 0, 1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            own.publish("/0.celery.pidbox", "shutdown")


def push(plane: Plane, message: StepMessage) -> None:
    """As whoever has the control plane's broker could."""
    app = Celery(broker=plane.broker(port=plane.redis.port), set_as_current=False)
    app.conf.update(task_create_missing_queues=False, broker_transport_options={"sep": ":"})
    with app.connection_for_write() as connection:
        app.send_task(
            message.action,
            [dump(message)],
            task_id=str(uuid4()),
            queue=Queue(f"node.{message.node}"),
            connection=connection,
        )
    app.close()


def test_se_2_what_is_not_signed_for_the_node_is_dropped_and_told(empty: Plane, broken: Broken, victim: Broken):
    """The broker cannot command a node, nor can another node's key, nor a message that was meant for another node."""
    instance = str(uuid4())
    forged = StepMessage(
        token=str(uuid4()),
        node=victim.uuid,
        incarnation=victim.incarnation(),
        action="remove_instance",
        version=1,
        object_key=f"instance:{instance}",
        generation=1,
        request={"instance": instance},
    )
    before = empty.effects()
    event = "SELECT COUNT(*) FROM events WHERE message = 'message dropped: not signed for this node'"
    known = int(empty.sql(event)[0][0])
    foreign = dataclasses.replace(forged, node=broken.uuid).signed(broken.identity["signing_key"])
    for message in (forged, forged.signed(broken.identity["signing_key"])):
        push(empty, message)
    app_level = dataclasses.replace(foreign, node=victim.uuid, signature=foreign.signature)
    push(empty, app_level)
    until(lambda: int(empty.sql(event)[0][0]) == known + 3, 20, "three events")
    assert empty.effects() == before


def test_se_4_it_settles_no_step_and_learns_no_secret_of_another_node(
    empty: Plane, broken: Broken, victim: Broken, open_step
):
    token, instance = open_step
    lie = {
        "incarnation": broken.incarnation(),
        "outcomes": [dump(Outcome(token=token, kind="refused", code="disk.full"))],
    }
    assert broken.post("/internal/outcomes", lie).status_code == 200
    assert empty.sql(f"SELECT state FROM steps WHERE token = '{token}'") == [["sent"]]
    assert broken.post(f"/internal/steps/{token}/secrets", {}).status_code == 404
    assert broken.post("/internal/tickets", {"token": token, "blob": instance, "peer": victim.uuid}).status_code == 404
    assert victim.post(f"/internal/steps/{token}/secrets", {}, secret=broken.identity["secret"]).status_code == 401
    secrets = victim.post(f"/internal/steps/{token}/secrets", {})
    assert secrets.json()["user_data"] == "secret"


def test_se_4_the_public_listener_has_no_internal_address(empty: Plane, broken: Broken):
    for port in empty.api_ports:
        url = f"http://127.0.0.1:{port}/internal/report"
        assert requests.post(url, json={}, timeout=5).status_code in (401, 404)
    for port in empty.internal_ports:
        assert requests.get(f"http://127.0.0.1:{port}/instances", timeout=5).status_code == 404


def test_se_5_a_ticket_opens_one_object_for_a_while(empty: Plane, broken: Broken, victim: Broken):
    empty.serve(2)
    upload, other = str(uuid4()), str(uuid4())
    address = empty.byte_address(2)

    def put(target: str, **claims: object) -> int:
        bearer = ticket(str(claims.pop("key", victim.identity["signing_key"])), claims)
        return _put(address, target, bearer)

    good = {"object": upload, "verb": "write_upload", "exp": time.time() + 600}
    assert put(upload, **good) == 200
    assert put(other, **good) == 403
    assert put(upload, **good | {"verb": "read_blob"}) == 403
    assert put(upload, **good | {"exp": time.time() - 600}) == 401
    assert put(upload, **good, key=broken.identity["signing_key"]) == 401
    whole = ticket(victim.identity["signing_key"], good)
    altered = ticket(victim.identity["signing_key"], good | {"object": other}).split(".")[0] + "." + whole.split(".")[1]
    assert _put(address, other, altered) == 401


def _put(address: str, upload: str, bearer: str) -> int:
    headers = {"Authorization": f"Bearer {bearer}"}
    return requests.put(f"{address}/uploads/{upload}?offset=0", data=b"x", headers=headers, timeout=5).status_code


def test_se_6_it_cannot_offer_more_than_its_ceiling(empty: Plane, broken: Broken):
    limits = f"SELECT limit_cpus, limit_memory_mb, limit_disk_gb FROM node_capacity WHERE node_id = '{broken.row}'"
    before = empty.sql(limits)
    boast = {"cpus": 4096, "memory_mb": 2**30, "disk_gb": 10**6}
    report = Report(incarnation=broken.incarnation(), clock=time.time(), actions={}, facts={"capacity": boast})
    empty.kill("node1-report")
    try:
        assert broken.post("/internal/report", dump(report)).status_code == 200
        assert empty.sql(limits) == before
    finally:
        empty.restart("node1-report")

"""broker_users: each node has its own user at the broker, which opens its own queues and nothing else (SE-1)."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from lab.servers import Redis
from sftasks.reconcilers import broker_users as duty
from sfweb.domain import broker_users, enrolment
from sfweb.models import Node, NodeCredential
from sfweb.models.state import State

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory(dir="/dev/shm") as directory:
        made = Redis(Path(directory), port=port, password="admin-secret")
        made.start()
        yield made
        made.stop()


@pytest.fixture
def broker(server: Redis, settings):
    url = f"redis://:admin-secret@127.0.0.1:{server.port}/0"
    settings.BROKER_ADMIN_URL = settings.NODE_BROKER_URL = url
    return url


def enrolled(name: str) -> tuple[Node, dict]:
    node, secret = enrolment.enrol(name).rsplit(":", 2)[1:]
    return Node.objects.get(pk=node), enrolment.exchange(Node(pk=node).uuid, secret)


def open_as(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url)


@pytest.mark.real
def test_se_1_a_node_reads_its_own_queues_and_nothing_else(broker):
    node, identity = enrolled("own")
    with open_as(identity["broker_url"]) as own:
        assert own.brpop([f"node.{node.pk}", f"node.{node.pk}.bulk:3"], timeout=0.01) is None
        own.publish("/0.celeryev/task.started", "{}")
        refused = [
            ("LPUSH", "control", "x"),
            ("LPUSH", "node.other", "x"),
            ("HSET", f"unacked.{node.pk}", "a", "b"),
            ("LRANGE", "node.other", "0", "1"),
            ("BRPOP", "node.other", "1"),
            ("PUBLISH", "/0.celery.pidbox", "x"),
            ("SADD", "_kombu.binding.control", "x"),
            ("SUBSCRIBE", "/0.celeryev/task.started"),
            ("KEYS", "*"),
            ("FLUSHALL",),
            ("ACL", "LIST"),
        ]
        for command in refused:
            with pytest.raises(redis.exceptions.NoPermissionError):
                own.execute_command(*command)
        with pytest.raises(redis.exceptions.ResponseError, match=r"can.t access"):
            own.eval("return redis.call('LPUSH', 'control', 'x')", 0)


@pytest.mark.real
def test_a_user_that_redis_forgot_is_made_again(broker):
    node, identity = enrolled("forgotten")
    with open_as(broker) as admin:
        admin.execute_command("ACL", "DELUSER", f"node.{node.pk}")
    with open_as(identity["broker_url"]) as own, pytest.raises(redis.exceptions.AuthenticationError):
        own.ping()
    assert duty.run()["ensured"] == NodeCredential.objects.count()
    with open_as(identity["broker_url"]) as own:
        assert own.ping()


@pytest.mark.real
def test_the_user_of_a_deleted_node_goes_and_a_new_enrolment_changes_the_password(broker):
    node, before = enrolled("short-lived")
    _, after = enrolled("short-lived")
    assert before["broker_url"] != after["broker_url"]
    Node.objects.filter(pk=node.pk).update(state=State.DELETED)
    assert duty.run()["removed"] == 1
    with open_as(after["broker_url"]) as own, pytest.raises(redis.exceptions.AuthenticationError):
        own.ping()


def test_without_an_administrator_all_nodes_share_one_user(settings):
    settings.BROKER_ADMIN_URL = ""
    assert enrolled("shared")[1]["broker_url"] == settings.NODE_BROKER_URL
    assert duty.run() == {"ensured": 0, "removed": 0}


@pytest.mark.real
def test_a_broker_that_is_away_keeps_nobody_from_enrolling(settings):
    settings.BROKER_ADMIN_URL = settings.NODE_BROKER_URL = "redis://:x@127.0.0.1:1/0"
    assert broker_users.name(enrolled("early")[0].pk) in enrolled("early")[1]["broker_url"]

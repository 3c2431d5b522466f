"""Operators are told of what broke: nothing is lost, nothing is told too often, and a webhook leads nowhere inside."""

import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail

from sftasks import engine, messages
from sftasks.operations import instance_power
from sftasks.reconcilers import node_states, notices
from sfweb.domain import notices as told
from sfweb.models import Delivery, NodeCapacity, Notice, NoticeChannel, Operation
from sfweb.models.fields import FromNow
from sfweb.models.node import Node

pytestmark = pytest.mark.django_db
LOOPBACK = ["127.0.0.0/8"]


class Receiver:
    """A server that keeps what it is sent and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, str], Any]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def told(self) -> list[str]:
        return [one["sentence"] for _, body in self.got for one in json.loads(body)["notices"]]


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    settings.NOTICE_ALLOW = LOOPBACK
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def webhook(receiver: Receiver, **more: Any) -> NoticeChannel:
    return NoticeChannel.objects.create(name="ops", kind="webhook", address=receiver.url, **more)


def rested() -> None:
    NoticeChannel.objects.update(sent_at=FromNow(-1000))
    Delivery.objects.update(not_before=None)


def test_a_failed_operation_is_told_with_its_cause_in_the_transaction_that_ends_it(guest, receiver):
    webhook(receiver)
    running = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff").operation

    def fail() -> None:
        row = Operation.objects.select_for_update().get(pk=running.pk)
        engine.end(row, "failed", "disk.full", "no room is left")

    guest.run(fail)
    notice = Notice.objects.get(kind="operation.failed")
    assert notice.sentence == f"instance_power of instance:{guest.instance.pk} failed: disk.full no room is left"
    assert notices.run()["sent"] == 1
    assert receiver.told == [notice.sentence]


def test_a_missing_node_is_told_with_what_it_takes_along(guest, receiver):
    webhook(receiver, kinds="node.missing")
    Node.objects.filter(pk=guest.home.pk).update(last_seen=FromNow(-500))
    guest.run(node_states.run)
    notices.run()
    assert len(receiver.told) == 1
    assert receiver.told[0].startswith(f"node {guest.home.name} is missing, with 1 instances")
    details = json.loads(receiver.got[0][1])["notices"][0]["details"]
    assert details["instances"] == [str(guest.instance.pk)]


def test_a_channel_gets_the_kinds_that_it_wants_and_nothing_is_written_where_nobody_does(receiver):
    told.tell("node.missing", "node:n1", "nobody listens")
    assert not Notice.objects.exists()
    webhook(receiver, kinds="node.missing,pool.low")
    told.tell("operation.failed", "operation:1", "not wanted")
    told.tell("pool.low", "pool:x", "wanted")
    assert list(Notice.objects.values_list("sentence", flat=True)) == ["wanted"]


def test_many_are_one_message_and_the_next_comes_after_the_pause(receiver):
    webhook(receiver, pause=60)
    for number in range(5):
        told.tell("node.missing", "node:n1", f"number {number}")
    assert notices.run()["sent"] == 5
    assert len(receiver.got) == 1
    told.tell("node.missing", "node:n1", "one more")
    assert notices.run()["sent"] == 0
    rested()
    assert notices.run()["sent"] == 1
    assert receiver.told[-1] == "one more"
    assert notices.run() == {"low": 0, "sent": 0, "failed": 0}


def test_what_is_not_taken_is_tried_again_and_given_up_after_a_day(receiver):
    channel = webhook(receiver)
    receiver.status = 503
    told.tell("node.missing", "node:n1", "a sentence")
    assert notices.run()["failed"] == 1
    row = Delivery.objects.get()
    assert (row.state, row.attempts, row.problem) == ("waiting", 1, "the server answered 503")
    assert notices.run() == {"low": 0, "sent": 0, "failed": 0}, "not at once"
    receiver.status = 200
    rested()
    assert notices.run()["sent"] == 1
    assert Delivery.objects.get().state == "sent"
    Delivery.objects.update(state="waiting", attempts=notices.MOST_ATTEMPTS - 1)
    NoticeChannel.objects.filter(pk=channel.pk).update(address="http://127.0.0.1:1/")
    rested()
    notices.run()
    assert Delivery.objects.get().state == "failed"


def test_a_process_that_dies_after_sending_sends_the_same_uuid_again(receiver, monkeypatch):
    webhook(receiver)
    told.tell("node.missing", "node:n1", "once")
    monkeypatch.setattr(notices, "_mark", lambda *_: None)
    notices.run()
    monkeypatch.undo()
    notices.run()
    sent = [json.loads(body)["notices"][0]["uuid"] for _, body in receiver.got]
    assert len(sent) == 2 and len(set(sent)) == 1


def test_a_message_is_signed_with_the_channels_secret(receiver):
    webhook(receiver, secret="known to both")
    told.tell("node.missing", "node:n1", "signed")
    notices.run()
    headers, body = receiver.got[0]
    wanted = "sha256=" + hmac.new(b"known to both", body, hashlib.sha256).hexdigest()
    assert headers[messages.SIGNATURE] == wanted


@pytest.mark.parametrize("allow", [[], ["10.0.0.0/8"]])
def test_se_8_a_webhook_leads_to_no_address_inside(receiver, settings, allow: list[str]):
    settings.NOTICE_ALLOW = allow
    channel = webhook(receiver)
    told.tell("node.missing", "node:n1", "x")
    for address in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        NoticeChannel.objects.filter(pk=channel.pk).update(address=address)
        channel.refresh_from_db()
        with pytest.raises(messages.Unsent, match="where nothing is sent"):
            messages.send(channel, [Notice.objects.get()])
    assert receiver.got == []


def test_se_8_a_redirect_is_not_followed(receiver):
    channel = webhook(receiver)
    receiver.status = 302
    told.tell("node.missing", "node:n1", "x")
    notices.run()
    assert Delivery.objects.get(channel=channel).problem == "the server answered 302"
    assert len(receiver.got) == 1


def test_an_email_goes_to_all_of_a_channels_addresses(settings):
    settings.EMAIL_HOST = "mail.example.org"
    NoticeChannel.objects.create(name="mail", kind="email", address="a@example.org, b@example.org")
    told.tell("node.missing", "node:n1", "node n1 is missing")
    told.tell("pool.low", "pool:x", "9 of 10 of x are used")
    assert notices.run()["sent"] == 2
    assert len(mail.outbox) == 1
    assert mail.outbox[0].to == ["a@example.org", "b@example.org"]
    assert mail.outbox[0].subject == "[steadyfist] node.missing: node:n1 and 1 more"
    assert "node n1 is missing" in mail.outbox[0].body and "9 of 10 of x are used" in mail.outbox[0].body


def test_an_email_without_a_mail_server_says_what_is_missing():
    NoticeChannel.objects.create(name="mail", kind="email", address="a@example.org")
    told.tell("node.missing", "node:n1", "x")
    notices.run()
    assert Delivery.objects.get().problem == "no mail server is configured: EMAIL_HOST"


def test_a_pool_near_its_end_is_told_once_a_day(guest, receiver):
    webhook(receiver, kinds="pool.low")
    assert notices.run()["low"] == 0
    NodeCapacity.objects.update(used_cpus=95, limit_cpus=100)
    assert notices.run()["low"] == 1
    assert receiver.told == ["190 of 200 of cpus of all nodes are used"]
    assert notices.run()["low"] == 0
    Notice.objects.update(created_at=FromNow(-90_000))
    assert notices.run()["low"] == 1


def test_old_notices_go(receiver):
    webhook(receiver)
    told.tell("node.missing", "node:n1", "old")
    Notice.objects.update(created_at=FromNow(-31 * 86400))
    notices.run()
    assert not Notice.objects.exists() and not Delivery.objects.exists()

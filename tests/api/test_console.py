"""The console: one ticket, one websocket, one serial line, with the node's real byte server (SE-15)."""

import asyncio
import dataclasses
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nodeagent.byte_server import ByteServer
from nodeagent.config import Config, Identity
from nodeagent.drivers.layout import Layout
from sfweb import console
from sfweb.domain import consoles
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.keys import put_key, remove_key
from sfweb.errors import NotReady, Unauthenticated
from sfweb.models import ConsoleTicket, Event, Instance, Key, Namespace
from sfweb.models.fields import FromNow
from tests.api.fake_bytes import KEY
from tests.api.world import make_node
from tests.factories import make_namespace

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def serial_line() -> Iterator[int]:
    """A guest that says what it hears, in capitals; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                line.sendall(b"login: ")
                while heard := line.recv(100):
                    if heard == b"bye":
                        break
                    line.sendall(heard.upper())

    thread = threading.Thread(target=talk)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def instance(tmp_path: Path, serial_line: int) -> Iterator[Instance]:
    caller = make_namespace()
    config = Config(name="n1", mesh_address="127.0.0.1", byte_port=0, state_dir=str(tmp_path))
    identity = Identity(node=str(uuid.uuid4()), name="n1", secret="s", signing_key=KEY, broker_url="", control=())
    with ByteServer(config, identity) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        made = Instance.objects.create(
            namespace_id=caller.namespace_uuid,
            name="guest",
            state="created",
            node=make_node("n1", server.server_port),
            cpus=1,
            memory_mb=64,
            console_port=serial_line,
        )
        Layout(tmp_path).instance(str(made.pk)).mkdir(parents=True)
        yield made
        server.shutdown()
        thread.join()


def talk(*messages: str, origin: str | None = None, hear: int = 1) -> tuple[list[bytes], int | None]:
    """Say the messages to a console process; what came back, `hear` times, and the close code."""

    async def both() -> tuple[list[bytes], int | None]:
        heard: list[bytes] = []
        async with serve(console.attend, "127.0.0.1", 0, origins=["https://cloud.example.org", None]) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}/", origin=origin) as browser:
                try:
                    for message in messages:
                        await browser.send(message)
                        await asyncio.sleep(0.3)
                    for _ in range(hear):
                        heard.append(await asyncio.wait_for(browser.recv(), 5))
                    await browser.close()
                except ConnectionClosed:
                    pass
                return heard, browser.close_code

    return asyncio.run(both())


def test_se_15_a_ticket_opens_the_serial_line(instance):
    ticket = consoles.issue(make_namespace(), instance)
    heard, _ = talk(ticket, "uptime", hear=2)
    assert b"".join(heard) == b"login: UPTIME"
    assert Event.objects.filter(message="console opened").count() == 1


def test_when_the_guest_ends_so_does_the_websocket(instance):
    ticket = consoles.issue(make_namespace(), instance)
    heard, code = talk(ticket, "bye", hear=5)
    assert (b"".join(heard), code) == (b"login: ", 1000)


def test_se_15_a_ticket_works_once(instance):
    ticket = consoles.issue(make_namespace(), instance)
    talk(ticket)
    assert talk(ticket) == ([], console.REFUSED)


def test_se_15_a_late_ticket_and_a_made_up_one_open_nothing(instance):
    ticket = consoles.issue(make_namespace(), instance)
    ConsoleTicket.objects.update(expires_at=FromNow(-1))
    assert talk(ticket) == ([], console.REFUSED)
    assert talk("nonsense") == ([], console.REFUSED)
    assert ticket not in str(list(ConsoleTicket.objects.values())), "only its digest is stored"


def test_se_15_pages_of_strangers_are_turned_away(instance):
    ticket = consoles.issue(make_namespace(), instance)
    with pytest.raises(InvalidStatus, match="403"):
        talk(ticket, origin="https://evil.example.org")
    heard, _ = talk(ticket, origin="https://cloud.example.org")
    assert heard == [b"login: "]


def test_an_instance_that_is_not_there_has_no_console(instance):
    ticket = consoles.issue(make_namespace(), instance)
    Instance.objects.update(state="delete-wait")
    with pytest.raises(NotReady):
        consoles.issue(make_namespace(), Instance.objects.get())
    with pytest.raises(Unauthenticated):
        consoles.redeem(ticket)


def test_a_node_that_does_not_answer_is_said(instance):
    ticket = consoles.issue(make_namespace(), instance)
    Instance.objects.update(console_port=1)
    assert talk(ticket) == ([], console.UNREACHABLE)


@pytest.fixture
def caller(settings) -> Caller:
    """Somebody who came in with a key, `k`, of the instance's namespace."""
    settings.KEY_HASH_ROUNDS = 4
    made = make_namespace()
    key = put_key(CLUSTER, Namespace.objects.get(name="tenant"), "k", "secret")
    return dataclasses.replace(made, key_name="k", nonce=key.nonce)


def end_key(how: str) -> None:
    tenant = Namespace.objects.get(name="tenant")
    if how == "rotated":
        put_key(CLUSTER, tenant, "k", "another")
    elif how == "removed":
        remove_key(CLUSTER, tenant, "k")
    else:
        Key.objects.update(expires_at=FromNow(-1))


@pytest.mark.parametrize("how", ["rotated", "removed", "expired"])
def test_se_15_se_18_a_ticket_ends_with_the_key_that_asked_for_it(instance, caller, how):
    ticket = consoles.issue(caller, instance)
    end_key(how)
    assert talk(ticket) == ([], console.REFUSED)


def test_se_18_of_all_who_come_only_a_fresh_ticket_for_this_is_let_in(instance, caller):
    assert talk("") == ([], console.REFUSED)
    assert talk("Bearer token") == ([], console.REFUSED)
    assert talk(consoles.issue(caller, instance, "screen")) == ([], console.REFUSED), "a ticket to something else"
    heard, _ = talk(consoles.issue(caller, instance))
    assert heard == [b"login: "]


@pytest.mark.parametrize("how", ["rotated", "removed", "deleted"])
def test_se_15_an_open_console_ends_with_its_key_and_with_its_instance(instance, caller, how, monkeypatch):
    monkeypatch.setattr(console, "RECHECK_SECONDS", 1.0)
    ticket = consoles.issue(caller, instance)

    def end() -> None:
        if how == "deleted":
            Instance.objects.update(state="delete-wait")
        else:
            end_key(how)
        connection.close()

    timer = threading.Timer(0.8, end)
    timer.start()
    heard, code = talk(ticket, hear=2)
    timer.join()
    assert (heard, code) == ([b"login: "], console.REFUSED)


def test_an_outage_of_the_database_ends_no_console(instance, caller, monkeypatch):
    monkeypatch.setattr(console, "RECHECK_SECONDS", 0.05)

    def away(ticket):
        raise OperationalError(2002, "gone")

    monkeypatch.setattr(consoles, "may_stay", away)
    heard, _ = talk(consoles.issue(caller, instance), "still here", hear=2)
    assert b"".join(heard) == b"login: STILL HERE"

"""SE-8: what a user's URL may reach, and what each answer of a server means."""

import http.client
import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from nodeagent.drivers import fetch
from nodeagent.host import Refused, Retry
from tests.drivers.images import Served, web_server

LOOPBACK = fetch.Policy(allow=[ipaddress.ip_network("127.0.0.0/8")])


@pytest.fixture
def web() -> Iterator[Served]:
    with web_server() as served:
        yield served


def body(url: str, policy: fetch.Policy = LOOPBACK) -> bytes:
    with fetch.opened(url, policy) as opened:
        parts = []
        while part := opened.read(1000):
            parts.append(part)
        return b"".join(parts)


def code(url: str, policy: fetch.Policy = LOOPBACK) -> str:
    with pytest.raises((Refused, Retry)) as caught:
        body(url, policy)
    return str(caught.value.code)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:0a00:0001::1",
    ],
)
def test_se_8_addresses_that_only_the_node_can_reach_are_forbidden(address: str) -> None:
    with pytest.raises(Refused) as caught:
        fetch.Policy().require(ipaddress.ip_address(address))
    assert caught.value.code == "fetch.forbidden"


def test_se_8_public_addresses_and_allowed_ranges_pass_but_never_the_underlay() -> None:
    fetch.Policy().require(ipaddress.ip_address("93.184.216.34"))
    fetch.Policy().require(ipaddress.ip_address("2606:2800:220:1::1"))
    allowing = fetch.Policy(allow=[ipaddress.ip_network("10.0.0.0/8")], deny=[ipaddress.ip_network("10.9.0.0/16")])
    allowing.require(ipaddress.ip_address("10.1.1.1"))
    with pytest.raises(Refused, match="the cloud itself"):
        allowing.require(ipaddress.ip_address("10.9.0.7"))


def test_se_8_one_bad_address_of_a_name_spoils_it_and_nothing_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in ("93.184.216.34", "127.0.0.1")]

    def never(*_: Any) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(socket, "create_connection", never)
    assert code("http://two-faced.example/", fetch.Policy()) == "fetch.forbidden"


def test_se_8_the_connection_is_made_to_the_address_that_was_checked(
    web: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = socket.create_connection

    def answer(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    def connect(place: tuple[str, int], seconds: float) -> socket.socket:
        assert place[0] == "127.0.0.1"
        return real(place, seconds)

    monkeypatch.setattr(fetch.socket, "getaddrinfo", answer)
    monkeypatch.setattr(fetch.socket, "create_connection", connect)
    web.answers["/a"] = (200, {}, b"content")
    assert body(f"http://images.example:{web.port}/a") == b"content"
    assert web.sent[0]["Host"] == f"images.example:{web.port}"
    assert asked[0] == "images.example"


def test_se_8_every_hop_is_checked(web: Served) -> None:
    web.answers["/a"] = (302, {"Location": "http://169.254.169.254/secret"}, b"")
    assert code(web.url("/a")) == "fetch.forbidden"
    web.answers["/b"] = (302, {"Location": "file:///etc/shadow"}, b"")
    assert code(web.url("/b")) == "fetch.bad_url"


def test_se_8_five_redirects_are_followed_and_a_sixth_is_not(web: Served) -> None:
    web.answers |= {f"/{n}": (301, {"Location": f"{n - 1}"}, b"") for n in range(1, 7)}
    web.answers["/0"] = (200, {}, b"here")
    assert body(web.url("/5")) == b"here"
    assert code(web.url("/6")) == "fetch.redirects"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "http://",
        "http://u:p@a.example/",
        "http://a b/",
        "http://a:99999/",
        "x",
    ],
)
def test_se_8_only_plain_http_urls(url: str) -> None:
    assert code(url) == "fetch.bad_url"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, "fetch.not_found"),
        (410, "fetch.not_found"),
        (401, "fetch.denied"),
        (403, "fetch.denied"),
        (429, "fetch.busy"),
        (408, "fetch.busy"),
        (500, "fetch.server"),
        (503, "fetch.server"),
    ],
)
def test_en_9_what_a_status_means(web: Served, status: int, expected: str) -> None:
    web.answers["/a"] = (status, {}, b"")
    assert code(web.url("/a")) == expected


def test_en_9_a_busy_server_says_when_to_come_back(web: Served) -> None:
    web.answers["/a"] = (429, {"Retry-After": "7"}, b"")
    with pytest.raises(Retry) as caught:
        body(web.url("/a"))
    assert caught.value.after == 7.0


def test_en_9_no_name_and_no_server_are_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert code(f"http://127.0.0.1:{port}/") == "fetch.connect"

    def unknown(host: str, port: int, **_: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert code("http://images.example/") == "fetch.dns"


def test_en_9_a_silent_server_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert code(f"http://127.0.0.1:{listener.getsockname()[1]}/") == "fetch.timeout"


def test_behind_a_proxy_it_resolves_and_an_address_in_the_url_is_checked_all_the_same(web: Served) -> None:
    policy = fetch.Policy(proxy=f"http://user:pass@127.0.0.1:{web.port}")
    web.answers["http://images.example/a?b=c"] = (200, {}, b"through the proxy")
    assert body("http://images.example/a?b=c", policy) == b"through the proxy"
    assert web.sent[0]["Proxy-Authorization"].startswith("Basic ")
    assert code("http://10.0.0.1/", policy) == "fetch.forbidden"


def test_a_secure_url_asks_the_proxy_for_a_tunnel_to_the_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        policy = fetch.Policy(proxy=f"http://127.0.0.1:{listener.getsockname()[1]}")
        connection = fetch._through_proxy(
            fetch._parsed("https://images.example/a"), "images.example", 443, policy.proxy
        )
        connection.timeout = 5
        heard: list[bytes] = []

        def refuse() -> None:
            accepted, _ = listener.accept()
            with accepted:
                heard.append(accepted.recv(1000))
                accepted.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises((OSError, http.client.HTTPException)):
            connection.connect()
        thread.join()
        connection.close()
    assert heard[0].startswith(b"CONNECT images.example:443 ")


def test_se_5_a_peer_is_asked_with_the_ticket(web: Served) -> None:
    web.answers["/blobs/x"] = (200, {}, b"bytes")
    with fetch.opened_from_peer(web.url("/blobs/x"), "the-ticket") as opened:
        assert (opened.read(100), opened.length) == (b"bytes", 5)
    assert web.sent[0]["Authorization"] == "Bearer the-ticket"
    with pytest.raises(Retry) as caught, fetch.opened_from_peer(web.url("/other"), "t"):
        pass
    assert caught.value.code == "fetch.peer"

"""What the lab decides without touching the machine: names, addresses, routes, what its proxy lets through."""

import asyncio
from pathlib import Path

import pytest

from lab import control, install, proxy
from lab.forward import Route
from lab.layout import Layout, from_environment
from nodeagent.host import Refused

HERE, THERE = Layout(Path("/srv/one/var")), Layout(Path("/srv/two/var"))


def test_two_labs_share_no_name() -> None:
    for attribute in ("digits", "sockets", "metric", "underlay", "control", "outside", "control_dir", "rc"):
        assert getattr(HERE, attribute) != getattr(THERE, attribute)
    assert max(len(name) for name in HERE.namespaces) <= 15
    assert len(str(HERE.sockets / "mariadb.sock")) < 40


def test_a_lab_is_found_again_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Layout(Path("/srv/x"), api_port=14000, offline=True, broker_url="redis://a", time_scale=0.5)
    for name, value in {**lab.environment(), "DATABASE_URL": "mysql://the-labs-own"}.items():
        monkeypatch.setenv(name, value)
    assert from_environment() == lab


@pytest.mark.parametrize(
    ("url", "routed", "carried"),
    [
        ("mysql://u:p@db.example:3307/sf", "mysql://u:p@198.18.0.1:3306/sf", "db.example:3307"),
        ("mysql://u:p@db.example/sf?ssl_ca=/ca", "mysql://u:p@198.18.0.1:3306/sf?ssl_ca=/ca", "db.example:3306"),
        ("mysql://u@localhost/sf?unix_socket=/run/x.sock", "mysql://u@localhost/sf?unix_socket=/run/x.sock", None),
    ],
)
def test_a_given_database_is_reached_through_the_lab(url: str, routed: str, carried: str | None) -> None:
    lab = Layout(Path("/srv/one/var"), database_url=url)
    assert control._through(url, 3306) == routed
    found = [route for route in control.routes(lab) if route.listen == "198.18.0.1:3306"]
    assert [route.connect for route in found] == ([carried] if carried else [])


def test_routes_are_told_to_the_process_that_carries_them() -> None:
    for route in control.routes(HERE):
        assert Route.parse(str(route)) == route


def test_the_proxy_rewrites_requests() -> None:
    head = b"GET http://a.example:81/x?y=1 HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: z\r\n\r\n"
    asked = proxy.parse(head)
    assert (asked.host, asked.port) == ("a.example", 81)
    assert asked.opening == b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
    tunnel = proxy.parse(b"CONNECT b.example:443 HTTP/1.1\r\n\r\n")
    assert (tunnel.host, tunnel.port, tunnel.opening) == ("b.example", 443, b"")


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\n\r\n", b"GET ftp://a/ HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"])
def test_the_proxy_refuses_what_is_no_request_to_one(head: bytes) -> None:
    with pytest.raises(ValueError):
        proxy.parse(head)


@pytest.mark.parametrize("address", ["127.0.0.1", "198.18.0.1", "198.19.0.1", "10.0.0.1", "169.254.169.254"])
def test_se_8_the_proxy_leads_to_no_private_place(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FETCH_ALLOW", raising=False)
    with pytest.raises(Refused):
        asyncio.run(proxy.checked_address(address, 80, proxy.policy()))


def test_se_8_what_an_operator_allows_is_let_through_but_never_the_cloud_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FETCH_ALLOW", "10.0.0.0/8,198.18.0.0/15")
    assert asyncio.run(proxy.checked_address("10.0.0.1", 80, proxy.policy())) == "10.0.0.1"
    with pytest.raises(Refused):
        asyncio.run(proxy.checked_address("198.18.0.1", 80, proxy.policy()))


def test_every_package_list_has_packages_and_one_is_for_the_proofs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVE", raising=False)
    assert [path.stem for path in install._lists()] == ["packages-control", "packages-lab", "packages-node"]
    monkeypatch.setenv("PROVE", "1")
    lists = install._lists()
    assert "packages-prove" in {path.stem for path in lists} and len(lists) == 4
    assert all(install._lines(path) for path in lists)
    assert install._present(["dpkg", "no-such-package-at-all"]) == {"dpkg"}

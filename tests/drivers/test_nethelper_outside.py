"""Floating and routed addresses on the real kernel: every cell of the reachability matrix, and what happens when they go."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from nodeagent.nethelper import names
from nodeagent.specs import FloatingAddress
from tests.drivers.netlab import Guest, Lab, Network, Node, inside, wait_until

pytestmark = pytest.mark.real
FLOATING, ROUTED = "198.19.0.201", "198.19.0.202"
OUTSIDE = "198.19.0.1"


@pytest.fixture
def guests(lab: Lab, node: Node, network: Network) -> tuple[Guest, Guest]:
    """Two guests; the first has the floating address and holds the routed one."""
    node.helper.ensure_network(network.spec())
    made = tuple(Guest(lab, node, network, host) for host in network.hosts)
    for guest in made:
        guest.configure()
    made[0].sh(f"ip addr add {ROUTED}/32 dev lo")
    node.helper.ensure_router(with_addresses(network))
    return made[0], made[1]


@pytest.fixture
def stranger(lab: Lab, node: Node) -> Iterator[Guest]:
    """A guest of another network."""
    other = Network()
    node.helper.ensure_network(other.spec())
    guest = Guest(lab, node, other, other.hosts[0])
    guest.configure()
    node.helper.ensure_router(other.router())
    yield guest
    node.helper.remove_router(other.uuid, other.vni)
    for port in node.ports_of(other):
        node.sh(f"ip link del {port}")
    node.helper.remove_network(other.uuid, other.vni)


def floating(network: Network) -> FloatingAddress:
    return FloatingAddress(address=FLOATING, target=network.hosts[0].address)


def with_addresses(network: Network, **changes: object):
    return network.router(**{"floating": (floating(network),), "routed": (ROUTED,), **changes})


def seen_by(server: str, client: str, address: str) -> str:
    """The source address that a TCP server in namespace `server` sees when `client` connects to `address`."""
    heard: list[str] = []
    with inside(f"/run/netns/{server}", lambda: socket.create_server(("0.0.0.0", 8080))) as listening:
        listening.settimeout(5)

        def serve() -> None:
            connection, (source, _) = listening.accept()
            heard.append(source)
            connection.sendall(connection.recv(100))
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()

        def ask() -> bytes:
            with socket.create_connection((address, 8080), timeout=3) as asking:
                asking.sendall(b"hello")
                return asking.recv(100)

        try:
            assert inside(f"/run/netns/{client}", ask) == b"hello"
        finally:
            thread.join()
    return heard[0]


def test_fl_6_floating_from_outside_keeps_the_askers_address(lab: Lab, guests: tuple[Guest, Guest]) -> None:
    assert seen_by(guests[0].namespace, lab.outside, FLOATING) == OUTSIDE
    assert ", 0% packet loss" in lab.outside_sh(f"ping -c 1 -W 2 {FLOATING}")


def test_fl_6_floating_from_another_network(guests: tuple[Guest, Guest], stranger: Guest) -> None:
    assert seen_by(guests[0].namespace, stranger.namespace, FLOATING) == stranger.network.egress


def test_fl_6_floating_from_the_same_network_turns_at_the_gateway(guests: tuple[Guest, Guest]) -> None:
    """The other guest, and the guest itself; both come by the gateway's address, or the answer would miss the router."""
    for guest in guests[1], guests[0]:
        assert seen_by(guests[0].namespace, guest.namespace, FLOATING) == guest.network.gateway


def test_fl_5_fl_6_routed_from_outside_and_back_without_nat(lab: Lab, guests: tuple[Guest, Guest]) -> None:
    assert seen_by(guests[0].namespace, lab.outside, ROUTED) == OUTSIDE
    assert ", 0% packet loss" in guests[0].sh(f"ping -n -c 1 -W 2 -I {ROUTED} {OUTSIDE}", check=False)


def test_fl_6_routed_from_the_same_network_is_untouched(guests: tuple[Guest, Guest]) -> None:
    assert seen_by(guests[0].namespace, guests[1].namespace, ROUTED) == guests[1].host.address


def test_fl_6_routed_from_another_network_comes_by_that_networks_egress(
    guests: tuple[Guest, Guest], stranger: Guest
) -> None:
    assert seen_by(guests[0].namespace, stranger.namespace, ROUTED) == stranger.network.egress


def test_fl_6_a_guest_without_outside_address_is_not_reached(lab: Lab, guests: tuple[Guest, Guest]) -> None:
    lab.outside_sh(f"ip route replace {guests[1].host.address} via {guests[1].network.egress}")
    assert ", 0% packet loss" not in lab.outside_sh(f"ping -c 1 -W 1 {guests[1].host.address}")


def test_nl_3_one_address_more_is_one_element(node: Node, network: Network, guests: tuple[Guest, Guest]) -> None:
    """NL-3: rules are not written again for an address, and asked again nothing is."""
    before = handles(node, network)
    more = FloatingAddress(address="198.19.0.203", target=network.hosts[1].address)
    assert node.helper.ensure_router(with_addresses(network, floating=(floating(network), more))).change == "repaired"
    assert handles(node, network) == before
    assert node.helper.ensure_router(with_addresses(network, floating=(floating(network), more))).change == "unchanged"
    assert guests[1].reaches(FLOATING)


def handles(node: Node, network: Network) -> list[int]:
    listed = json.loads(node.router(network, "nft -j -a list table inet steadyfist"))["nftables"]
    return [entry["rule"]["handle"] for entry in listed if "rule" in entry]


def test_fl_3_an_address_that_is_taken_away_ends_its_connections(
    lab: Lab, node: Node, network: Network, guests: tuple[Guest, Guest]
) -> None:
    """Also those that stand: the next owner of the address shares nothing with the former."""
    with inside(f"/run/netns/{guests[0].namespace}", lambda: socket.create_server(("0.0.0.0", 8080))) as server:
        there = inside(f"/run/netns/{lab.outside}", lambda: socket.create_connection((FLOATING, 8080), timeout=3))
        here, _ = server.accept()
        with there, here:
            here.settimeout(1)
            there.sendall(b"before")
            assert here.recv(100) == b"before"
            node.helper.ensure_router(with_addresses(network, floating=()))
            there.sendall(b"after")
            with pytest.raises(TimeoutError):
                here.recv(100)
    lab.outside_sh("ip neigh flush all")
    assert ", 0% packet loss" not in lab.outside_sh(f"ping -c 1 -W 1 {FLOATING}")
    assert ", 0% packet loss" in lab.outside_sh(f"ping -c 1 -W 2 {ROUTED}")


def test_fl_9_nothing_of_an_address_is_left(node: Node, network: Network, guests: tuple[Guest, Guest]) -> None:
    assert FLOATING in node.router(network, "ip neigh show proxy")
    node.helper.ensure_router(network.router())
    for look in ("ip neigh show proxy", "ip route", "nft list table inet steadyfist"):
        shown = node.router(network, look)
        assert FLOATING not in shown and ROUTED not in shown, look
    assert node.helper.ensure_router(network.router()).change == "unchanged"
    assert node.helper.ensure_router(with_addresses(network)).change == "repaired"


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush table inet steadyfist",
        "nft delete table inet steadyfist",
        f"nft delete element inet steadyfist floating {{ {FLOATING} : {{target}} }}",
        "nft flush chain inet steadyfist nat",
        f"ip route del {ROUTED}/32",
        f"ip neigh del proxy {FLOATING} dev {{outside}}",
    ],
)
def test_fl_7_what_is_damaged_is_repaired(
    lab: Lab, node: Node, network: Network, guests: tuple[Guest, Guest], damage: str
) -> None:
    """Rules, hairpin, both routes and the answer for the address: all stand again after one pass."""
    text = damage.replace("{outside}", names.outside(network.vni)).replace("{target}", network.hosts[0].address)
    assert network.uuid not in node.helper.check_routers().routers
    node.router(network, text.replace("{{", "{").replace("}}", "}"))
    assert "not as they were made" in node.helper.check_routers().routers[network.uuid]
    assert node.helper.ensure_router(with_addresses(network)).change == "repaired"
    lab.outside_sh("ip neigh flush all")
    wait_until(lambda: ", 0% packet loss" in lab.outside_sh(f"ping -c 1 -W 1 {FLOATING}"), 3)
    assert ", 0% packet loss" in lab.outside_sh(f"ping -c 1 -W 2 {ROUTED}")
    assert guests[1].reaches(FLOATING)
    assert network.uuid not in node.helper.check_routers().routers


def test_dn_6_a_resolver_that_died_is_damage(node: Node, network: Network, guests: tuple[Guest, Guest]) -> None:
    node.sh(f"kill -9 {node.resolver_pid(network)}")
    assert "resolver" in node.helper.check_routers().routers[network.uuid]
    assert node.helper.ensure_router(with_addresses(network)).resolver == "restarted"
    assert network.uuid not in node.helper.check_routers().routers


def test_cm_9_a_closed_gate_answers_for_no_address(lab: Lab, node: Node, network: Network, guests: tuple[Guest, Guest]):
    """EN-11: a carrier whose lease has ended speaks for none of its addresses."""
    node.helper.renew_lease(network.lease(seconds=0.0))
    lab.outside_sh("ip neigh flush all")
    assert "100% packet loss" in lab.outside_sh(f"ping -c 1 -W 1 {FLOATING}")
    assert FLOATING not in lab.outside_sh("ip neigh show nud reachable")

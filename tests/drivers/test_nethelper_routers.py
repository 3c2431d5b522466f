"""The router of a carrier on the real kernel: DHCP, DNS, NAT, what guests cannot reach, and what is repaired."""

from pathlib import Path

import pytest

from tests.drivers.netlab import Guest, Lab, Network, Node

pytestmark = pytest.mark.real


@pytest.fixture
def guest(lab: Lab, node: Node, network: Network) -> Guest:
    node.helper.ensure_network(network.spec())
    made = Guest(lab, node, network, network.hosts[0])
    made.configure()
    return made


def test_guest_is_configured_and_reaches_the_outside(
    lab: Lab, node: Node, network: Network, tmp_path: Path, guest: Guest
) -> None:
    """DN-1, HP-1, HP-4: a real DHCP client gets its fixed address, options and names; the outside sees the egress address."""
    answer = node.helper.ensure_router(network.router())
    assert (answer.change, answer.resolver) == ("created", "started")
    given = guest.ask_dhcp(tmp_path / "script")
    assert given["ip"] == network.hosts[0].address
    assert given["router"] == given["dns"] == network.gateway
    assert (given["mtu"], given["domain"], given["lease"]) == ("1550", "lab.example", "3600")
    assert guest.reaches("198.19.0.1")
    assert network.hosts[1].address in guest.sh(f"busybox nslookup guest12.lab.example {network.gateway}")

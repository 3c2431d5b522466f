"""Bridge, VXLAN and mesh on the real kernel: what stands there, what is repaired, what is left alone."""

import pytest

from tests.drivers.netlab import Guest, Lab, Network

pytestmark = pytest.mark.real


def test_guests_on_two_nodes_reach_each_other(lab: Lab, network: Network) -> None:
    """HP-1, HP-3: full-size frames cross the mesh, and none larger than the underlay carries."""
    one, two = lab.nodes
    guests = []
    for node, other, host in ((one, two, network.hosts[0]), (two, one, network.hosts[1])):
        assert node.helper.ensure_network(network.spec(other)).change == "created"
        guests.append(Guest(lab, node, network, host))
        guests[-1].configure()
    assert guests[0].reaches(network.hosts[1].address, count=3)
    largest = f"ping -n -c 1 -W 1 -M do -s {1550 - 28} {network.hosts[1].address}"
    assert ", 0% packet loss" in guests[0].sh(largest)

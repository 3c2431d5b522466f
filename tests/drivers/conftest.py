"""Fixtures of the drivers' tests. The folder `inside` is run by test_real_guest.py in namespaces of its own."""

from collections.abc import Iterator

import pytest

from tests.drivers.netlab import Lab, Network, Node

collect_ignore = ["inside"]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    made = Lab(nodes=2)
    yield made
    made.close()


@pytest.fixture
def node(lab: Lab) -> Node:
    return lab.nodes[0]


@pytest.fixture
def network(lab: Lab) -> Iterator[Network]:
    """A fresh network, taken away from every node afterwards."""
    made = Network()
    yield made
    for each in lab.nodes:
        each.helper.remove_router(made.uuid, made.vni)
        for port in each.ports_of(made):
            each.sh(f"ip link del {port}")
        each.helper.remove_network(made.uuid, made.vni)

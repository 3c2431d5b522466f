"""A small cluster of machines in memory for every operation's test."""

import itertools

import pytest

from sftasks.operations import instance_create, network_create
from tests.cluster import Cluster
from tests.factories import make_namespace, new_instance, new_network


@pytest.fixture
def caller(db):
    return make_namespace()


@pytest.fixture
def make_cluster(tmp_path, monkeypatch, caller):
    """Makes clusters; each call starts from a database without nodes, networks and instances."""
    numbers = itertools.count()

    def make(nodes: int = 2, **capacity: int) -> Cluster:
        return Cluster(tmp_path / str(next(numbers)), monkeypatch, nodes, **capacity)

    return make


@pytest.fixture
def cluster(make_cluster) -> Cluster:
    return make_cluster()


@pytest.fixture
def served(make_cluster, caller) -> Cluster:
    """Two nodes and one created network, `net`."""
    made = make_cluster()
    made.caller = caller
    made.network = made.ask(network_create.request, caller, new_network()).row
    made.settle()
    return made


@pytest.fixture
def guest(served) -> Cluster:
    """`served` with one created instance, `instance`, and the node that it runs on, `home`."""
    served.instance = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net")).row
    served.settle()
    served.instance.refresh_from_db()
    served.home = next(node for node in served.nodes if node.pk == served.instance.node_id)
    return served

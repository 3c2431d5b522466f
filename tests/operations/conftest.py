"""A small cluster of machines in memory for every operation's test."""

import itertools

import pytest

from sftasks.operations import instance_create, network_create
from sftasks.reconcilers import node_states
from tests.cluster import Cluster
from tests.factories import make_namespace, new_instance, new_network


@pytest.fixture
def caller(db):
    return make_namespace()


@pytest.fixture
def make_cluster(tmp_path, monkeypatch, caller):
    """Makes clusters; each call starts from a database without nodes, networks and instances."""
    numbers = itertools.count()
    monkeypatch.setattr(node_states, "_listen", lambda: None)

    def make(nodes: int = 2, **capacity: int) -> Cluster:
        return Cluster(tmp_path / str(next(numbers)), monkeypatch, nodes, **capacity)

    return make


@pytest.fixture
def make_bare(make_cluster, caller):
    """Makes clusters of two nodes and nothing else."""

    def make() -> Cluster:
        made = make_cluster()
        made.caller = caller
        return made

    return make


@pytest.fixture
def make_served(make_cluster, caller):
    """Makes clusters, of two nodes unless said, and one created network, `net`."""

    def make(nodes: int = 2) -> Cluster:
        made = make_cluster(nodes)
        made.caller = caller
        made.network = made.ask(network_create.request, caller, new_network()).row
        made.settle()
        return made

    return make


@pytest.fixture
def served(make_served) -> Cluster:
    return make_served()


@pytest.fixture
def make_guest(make_served):
    """Makes such clusters with one created instance, `instance`, and the node that it runs on, `home`."""

    def make() -> Cluster:
        made = make_served()
        made.instance = made.ask(instance_create.request, made.caller, new_instance("guest", "tenant", "net")).row
        made.settle()
        made.instance.refresh_from_db()
        made.home = next(node for node in made.nodes if node.pk == made.instance.node_id)
        return made

    return make


@pytest.fixture
def guest(make_guest) -> Cluster:
    return make_guest()


@pytest.fixture
def away(guest):
    """The node that the guest is not on."""
    return next(node for node in guest.nodes if node is not guest.home)

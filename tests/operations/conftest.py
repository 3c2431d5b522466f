"""A small cluster of machines in memory for every operation's test."""

import itertools

import pytest

from tests.cluster import Cluster
from tests.factories import make_namespace


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

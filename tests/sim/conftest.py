"""One control plane of real processes for all tests here: two of each HTTP process, five nodes."""

import pytest

from lab.plane import Client, Plane, Size


@pytest.fixture(scope="session")
def plane():
    """Two API and two internal processes (BY-8), a broker that can be made to lose messages, five nodes of 64 GiB."""
    made = Plane(Size(nodes=5, apis=2, internals=2, slow=0.02, unreliable=True))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def client(plane: Plane):
    made: Client = plane.api()
    yield made
    made.close()


@pytest.fixture
def empty(plane: Plane, client: Client):
    """The cluster without instances and networks, before and after."""
    plane.clear(client)
    yield plane
    plane.clear(client)

"""Rows and callers for tests of the API; keys are hashed cheaply."""

from collections.abc import Iterator

import pytest

from tests.api.fake_bytes import FakeBytes, serving
from tests.api.world import Person, World


@pytest.fixture(autouse=True)
def _cheap_keys(settings: object) -> None:
    settings.KEY_HASH_ROUNDS = 4  # type: ignore[attr-defined]
    settings.API_WAIT_SECONDS = 0.0  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def byte_server() -> Iterator[FakeBytes]:
    with serving() as store:
        yield store


@pytest.fixture
def node_bytes(byte_server: FakeBytes) -> FakeBytes:
    """What node n1 serves, emptied for each test."""
    for kept in (byte_server.blobs, byte_server.uploads, byte_server.consoles, byte_server.asked, byte_server.claims):
        kept.clear()
    byte_server.break_off_after = byte_server.refuse = None
    byte_server.slow.set()
    return byte_server


@pytest.fixture
def world(db: None, node_bytes: FakeBytes) -> World:
    made = World(node_bytes.port)
    node_bytes.blobs[str(made.blob.uuid)] = bytes(range(100))
    return made


@pytest.fixture
def system(world: World) -> Person:
    return world.person("system")


@pytest.fixture
def owner(world: World) -> Person:
    return world.person("owner")


@pytest.fixture
def other(world: World) -> Person:
    return world.person("other")


@pytest.fixture
def nobody(world: World) -> Person:
    return world.person("nobody")

"""Every command of the unmodified public client, in each of its ways of printing, on a lab with real guests.

The rows are in `tests/e2e/walk/`; they run in their order and share one guest and one network.
"""

import importlib
from collections.abc import Iterator

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.walk import DEFECTS, ROWS, Walk, commands

for _part in ("networks", "instances", "guests", "artifacts", "others", "ending"):
    importlib.import_module(f"tests.e2e.walk.{_part}")


@pytest.fixture(scope="module")
def walk(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    made = Walk(cloud, tmp_path_factory.mktemp("client"))
    yield made
    made.leave()


def test_every_command_has_its_row() -> None:
    """Needs no lab: a command of a newer client without a row fails here."""
    assert set(ROWS) == set(commands())


@pytest.mark.e2e
@pytest.mark.parametrize("command", ROWS)
def test_each_command_says_what_is(walk: Walk, command: str) -> None:
    ROWS[command](walk)


@pytest.mark.e2e
def test_the_client_breaks_where_it_must_and_nowhere_else(walk: Walk) -> None:
    assert walk.broke == set(DEFECTS)


@pytest.mark.e2e
def test_a_server_that_is_not_there_is_told_of(walk: Walk) -> None:
    for mode in ("pretty", "simple", "json"):
        said = walk.run(mode, "--apiurl", "http://127.0.0.1:9", "instance", "list")
        assert said.code == 1 and "Unable to connect to server" in said.out


@pytest.mark.e2e
def test_what_was_made_is_gone(walk: Walk) -> None:
    walk.leave()
    walk.cloud.until(walk.cloud.findings, lambda found: not found, 60)

"""One lab with two nodes for all end-to-end tests; it is made by `make run` and removed by `make clean`."""

from collections.abc import Iterator

import pytest

from tests.e2e.cloud import Cloud, machine_network


@pytest.fixture(scope="session")
def network_before() -> dict[str, str]:
    return machine_network()


@pytest.fixture(scope="session")
def cloud(network_before: dict[str, str]) -> Iterator[Cloud]:
    cloud = Cloud(nodes=2)
    try:
        done = cloud.make("run")
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        yield cloud
    finally:
        cloud.close()

"""One control plane of real processes: the way of one instance through all of them, and back."""

import pytest

from tests.processes import Client, Plane, new_instance, until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def plane():
    made = Plane()
    yield made.start()
    made.close()


@pytest.fixture
def client(plane: Plane):
    made = plane.api()
    yield made
    made.close()


@pytest.mark.timeout(90)
def test_an_instance_comes_and_goes_through_every_process(plane: Plane, client: Client):
    network = client.ok("POST", "/networks", {"name": "net", "netblock": "10.0.0.0/24", "provide_dhcp": True})
    until(lambda: client.ok("GET", f"/networks/{network['uuid']}")["state"] == "created", 20, "network created")
    made = client.ok("POST", "/instances", new_instance("guest", "net"))
    path = f"/instances/{made['uuid']}"
    until(lambda: client.ok("GET", path)["state"] == "created", 20, "instance created")
    client.ok("DELETE", path)
    until(lambda: client.ok("GET", path)["state"] == "deleted", 20, "instance deleted")

"""The way of one instance through real processes, and back."""

import pytest

from lab.plane import Client, Plane, new_instance, until

pytestmark = pytest.mark.real


@pytest.mark.timeout(90)
def test_an_instance_comes_and_goes_through_every_process(empty: Plane, client: Client):
    network = client.ok("POST", "/networks", {"name": "net", "netblock": "10.0.0.0/24", "provide_dhcp": True})
    until(lambda: client.ok("GET", f"/networks/{network['uuid']}")["state"] == "created", 20, "network created")
    made = client.ok("POST", "/instances", new_instance("guest", "net"))
    path = f"/instances/{made['uuid']}"
    until(lambda: client.ok("GET", path)["state"] == "created", 20, "instance created")
    client.ok("DELETE", path)
    until(lambda: client.ok("GET", path)["state"] == "deleted", 20, "instance deleted")

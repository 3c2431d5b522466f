"""Outside addresses, hosted names and ping with real guests on two nodes, asked for with the unmodified client."""

from collections.abc import Iterator

import pytest
from shakenfist_client.apiclient import Client

from lab.first_boot import environment
from lab.forward import new_socket
from tests.e2e.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMES = ("alpha", "beta")


@pytest.fixture(scope="module")
def guests(cloud: Cloud) -> Iterator[Cloud]:
    """Two guests of one network, each on a node of its own."""
    network = cloud.sf("network", "create", "port", "10.40.0.0/24", "--dns")["uuid"]
    for name, where in zip(NAMES, ("n1", "n2"), strict=True):
        cloud.create(name, where, network)
    for name in NAMES:
        assert cloud.settled(name)["state"] == "created"
        cloud.has_booted(name)
    yield cloud
    for name in NAMES:
        cloud.sf("instance", "delete", name)
    cloud.sf("network", "delete", "port")
    assert "agree" in cloud.manage("audit_nodes")


def card(cloud: Cloud, name: str) -> dict[str, str]:
    found: dict[str, str] = cloud.show(name)["network_interfaces"][0]
    return found


def fetched_outside(cloud: Cloud, address: str) -> str:
    """The guest's web page, asked for from the lab's outside network; empty when nobody answered."""
    with new_socket(f"/run/netns/{cloud.lab.outside}") as way:
        way.settimeout(5)
        try:
            way.connect((address, 80))
            way.sendall(b"GET / HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: way.recv(1000), b""))
        except OSError:
            return ""
    return text.decode().rpartition("\r\n\r\n")[2].strip()


def fetched_by(cloud: Cloud, name: str, address: str) -> str:
    return cloud.ask(name, f"wget -q -O - http://{address}/")[1].strip()


def test_fl_6_a_floating_address_is_reached_from_everywhere(guests: Cloud) -> None:
    """From the outside, from a guest of another network, from the network itself, and by the guest itself."""
    guests.sf("interface", "float", card(guests, "alpha")["uuid"])
    address = card(guests, "alpha")["floating"]
    guests.until(lambda: fetched_outside(guests, address), lambda page: page == "alpha", 20)
    for name in ("first", "beta", "alpha"):
        assert fetched_by(guests, name, address) == "alpha", name


def test_fl_3_defloat_ends_it_and_the_address_rests(guests: Cloud) -> None:
    address = card(guests, "alpha")["floating"]
    guests.sf("interface", "defloat", card(guests, "alpha")["uuid"])
    assert card(guests, "alpha")["floating"] is None
    guests.until(lambda: fetched_outside(guests, address), lambda page: page == "", 20)
    rows = guests.sf("network", "addresses", "floating")
    assert [row["type"] for row in rows if row["address"] == address] == ["deletion-halo"]


def test_fl_6_a_routed_address_is_reached_by_its_holder_without_nat(guests: Cloud) -> None:
    address = str(guests.sf("network", "add-routed", "port")).strip()
    assert guests.ask("alpha", f"ip addr add {address}/32 dev lo")[0] == 0
    guests.until(lambda: fetched_outside(guests, address), lambda page: page == "alpha", 20)
    for name in ("beta", "first"):
        assert fetched_by(guests, name, address) == "alpha", name
    guests.sf("network", "delete-routed", "port", address)
    guests.until(lambda: fetched_outside(guests, address), lambda page: page == "", 20)


def test_dn_2_a_hosted_name_is_known_when_the_client_is_answered(guests: Cloud) -> None:
    key = environment(guests.lab)
    client = Client(guests.lab.api_url, namespace=key["SHAKENFIST_NAMESPACE"], key=key["SHAKENFIST_KEY"])
    client.update_network_dns_entry("port", "www", "10.40.0.77")
    assert "10.40.0.77" in guests.ask("alpha", "nslookup www.system.steadyfist")[1]
    client.delete_network_dns_entry("port", "www")
    assert "10.40.0.77" not in guests.ask("alpha", "nslookup www.system.steadyfist")[1]


def test_hp_6_the_router_pings_a_guest(guests: Cloud) -> None:
    for address, loss in ((card(guests, "beta")["ipv4"], ", 0% packet loss"), ("10.40.0.200", "100% packet loss")):
        assert loss in str(guests.sf("network", "ping", "port", address))

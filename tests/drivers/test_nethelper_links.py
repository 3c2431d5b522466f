"""Bridge, VXLAN and mesh on the real kernel: what stands there, what is repaired, what is left alone."""

import errno
import json
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from nodeagent.nethelper import names
from nodeagent.nethelper.client import NetworkError
from tests.drivers.netlab import EGRESS, Guest, Lab, Network, Node, inside

pytestmark = pytest.mark.real


def flooded(node: Node, network: Network) -> set[str]:
    shown = json.loads(node.sh(f"bridge -j fdb show dev {names.vxlan(network.vni)}"))
    return {entry["dst"] for entry in shown if entry["mac"] == "00:00:00:00:00:00"}


def test_guests_on_two_nodes_reach_each_other(lab: Lab, network: Network) -> None:
    """HP-1, HP-3: full-size frames cross the mesh."""
    one, two = lab.nodes
    guests = []
    for node, other, host in ((one, two, network.hosts[0]), (two, one, network.hosts[1])):
        assert node.helper.ensure_network(network.spec(other)).change == "created"
        guests.append(Guest(lab, node, network, host))
        guests[-1].configure()
    assert guests[0].reaches(network.hosts[1].address, count=3)
    largest = f"ping -n -c 1 -W 1 -M do -s {1550 - 28} {network.hosts[1].address}"
    assert ", 0% packet loss" in guests[0].sh(largest)


def test_hp_7_a_guest_may_claim_addresses_and_the_vxlan_alone_keeps_tenants_apart(lab: Lab, network: Network) -> None:
    """No filter stands between guests of one network; the same addresses in another tenant's are another world."""
    one, two = lab.nodes
    other = Network()
    guests = []
    for mine, node, peer, number in ((network, one, two, 0), (network, two, one, 1), (other, one, two, 0)):
        node.helper.ensure_network(mine.spec(peer))
        guests.append(Guest(lab, node, mine, mine.hosts[number]))
        guests[-1].configure()
    block = network.hosts[1].address.rpartition(".")[0]
    extra = f"{block}.200"
    guests[1].sh(f"ip addr add {extra}/24 dev eth0")
    guests[2].sh(f"ip addr add {block}.201/24 dev eth0")
    assert guests[0].reaches(extra, count=3)
    assert not guests[2].reaches(extra)
    assert not guests[2].reaches(network.hosts[1].address)
    for port in one.ports_of(other):
        one.sh(f"ip link del {port}")
    one.helper.remove_network(other.uuid, other.vni)


def test_devices_are_as_specified(node: Node, network: Network) -> None:
    """HP-1, HP-2, HP-3: MTU of the underlay less 50, no STP, no delay, port 4789, own address; flood list without itself."""
    spec = replace(network.spec(), peers=("198.18.0.2", "198.18.0.7", node.address))
    assert node.helper.ensure_network(spec).change == "created"
    bridge, vxlan = node.link(names.bridge(network.vni)), node.link(names.vxlan(network.vni))
    assert bridge["mtu"] == vxlan["mtu"] == 1550
    assert "UP" in bridge["flags"] and "UP" in vxlan["flags"]
    options = bridge["linkinfo"]["info_data"]
    assert (options["stp_state"], options["forward_delay"]) == (0, 0)
    options = vxlan["linkinfo"]["info_data"]
    assert (options["id"], options["port"], options["local"], options["link"]) == (
        network.vni,
        4789,
        node.address,
        "eth0",
    )
    assert options["learning"] and vxlan["master"] == bridge["ifname"]
    assert bridge["ifalias"] == vxlan["ifalias"] == network.uuid
    assert flooded(node, network) == {"198.18.0.2", "198.18.0.7"}


def test_nothing_to_do_changes_nothing(node: Node, network: Network) -> None:
    """NL-4: asked again, the answer is unchanged."""
    node.helper.ensure_network(network.spec())
    assert node.helper.ensure_network(network.spec()).change == "unchanged"


@pytest.mark.parametrize(
    "damage",
    [
        "bridge fdb del 00:00:00:00:00:00 dev {vxlan} dst 198.18.0.2",
        "bridge fdb append 00:00:00:00:00:00 dev {vxlan} dst 198.18.0.9",
        "ip link set {bridge} mtu 1400",
        "ip link set {vxlan} mtu 1400",
        "ip link set {bridge} down",
        "ip link set {vxlan} nomaster",
        "ip link set {bridge} type bridge stp_state 1",
        "ip link del {vxlan}",
    ],
)
def test_damage_is_repaired(lab: Lab, node: Node, network: Network, damage: str) -> None:
    """HP-1, HP-2, HP-3, NL-2: whatever was changed behind its back is put right, and said to have been."""
    spec = network.spec(lab.nodes[1])
    node.helper.ensure_network(spec)
    before = node.link(names.bridge(network.vni)), node.link(names.vxlan(network.vni))
    node.sh(damage.format(bridge=names.bridge(network.vni), vxlan=names.vxlan(network.vni)))
    assert node.helper.ensure_network(spec).change == "repaired"
    after = node.link(names.bridge(network.vni)), node.link(names.vxlan(network.vni))
    for old, new in zip(before, after, strict=True):
        assert (new["mtu"], new.get("master"), "UP" in new["flags"]) == (old["mtu"], old.get("master"), True)
    assert flooded(node, network) == {"198.18.0.2"}
    assert node.helper.ensure_network(spec).change == "unchanged"


def test_port_with_a_lower_mtu_does_not_lower_the_bridge(lab: Lab, node: Node, network: Network) -> None:
    """HP-1."""
    node.helper.ensure_network(network.spec())
    guest = Guest(lab, node, network, network.hosts[0])
    node.sh(f"ip link set {guest.port} mtu 1400")
    assert node.link(names.bridge(network.vni))["mtu"] == 1550


def test_vxlan_device_of_another_address_is_made_anew(node: Node, network: Network) -> None:
    """NL-2: what the kernel cannot change on a living device."""
    node.helper.ensure_network(network.spec())
    name = names.vxlan(network.vni)
    node.sh(f"ip link del {name}")
    node.sh(f"ip link add {name} type vxlan id {network.vni} dstport 4789 local 198.18.0.77 dev eth0")
    assert node.helper.ensure_network(network.spec()).change == "repaired"
    assert node.link(name)["linkinfo"]["info_data"]["local"] == node.address


def test_removed_network_leaves_nothing(node: Node, network: Network) -> None:
    """SR-1, NL-4: no link is left, the inventory knows it no longer, and removing it again is no error."""
    node.helper.ensure_network(network.spec())
    assert node.helper.inventory().networks[network.uuid] == network.vni
    assert node.helper.remove_network(network.uuid, network.vni).change == "removed"
    assert node.link(names.bridge(network.vni)) is None
    assert node.link(names.vxlan(network.vni)) is None
    assert network.uuid not in node.helper.inventory().networks
    assert node.helper.remove_network(network.uuid, network.vni).change == "unchanged"


def test_network_with_a_guest_on_it_is_not_removed(lab: Lab, node: Node, network: Network) -> None:
    """SR-3: a foreign port protects the bridge."""
    node.helper.ensure_network(network.spec())
    guest = Guest(lab, node, network, network.hosts[0])
    with pytest.raises(NetworkError, match=guest.port) as refused:
        node.helper.remove_network(network.uuid, network.vni)
    assert refused.value.errno == errno.EBUSY
    assert node.link(names.vxlan(network.vni)) is not None


def test_number_of_another_network_is_refused(node: Node, network: Network) -> None:
    """NL-4: one VNI, one network; the error names the device and its owner."""
    node.helper.ensure_network(network.spec())
    other = str(uuid.uuid4())
    with pytest.raises(NetworkError, match=network.uuid) as refused:
        node.helper.ensure_network(replace(network.spec(), network=other))
    assert (refused.value.errno, refused.value.object) == (errno.EEXIST, names.bridge(network.vni))
    with pytest.raises(NetworkError, match=network.uuid):
        node.helper.remove_network(other, network.vni)


def test_device_without_an_owner_is_named_in_the_inventory(node: Node, network: Network) -> None:
    """SR-4: what cannot be told apart is said, never left out."""
    node.sh(f"ip link add {names.bridge(network.vni)} type bridge")
    assert names.bridge(network.vni) in node.helper.inventory().unreadable
    assert node.helper.ensure_network(network.spec()).change == "repaired"
    assert node.helper.inventory().unreadable == ()


def test_two_at_once_are_one_after_the_other(node: Node, network: Network) -> None:
    """NF-6: of two that want the same, one makes it and the other finds it made."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: _ensure_and_close(node, network), range(8)))
    assert sorted(answers) == ["created"] + ["unchanged"] * 7


def _ensure_and_close(node: Node, network: Network) -> str:
    try:
        return node.helper.ensure_network(network.spec()).change
    finally:
        node.helper.close()


def test_vxlan_is_taken_from_mesh_peers_only(lab: Lab, network: Network) -> None:
    """SE-7, HP-3: frames of a node that is no mesh peer are not let in, those of one are."""
    one, two = lab.nodes
    one.helper.ensure_network(network.spec(two))
    two.helper.ensure_network(network.spec(one))
    guests = [Guest(lab, node, network, host) for node, host in zip((one, two), network.hosts, strict=True)]
    for guest in guests:
        guest.configure()
    assert guests[0].reaches(network.hosts[1].address)
    assert two.helper.set_mesh_peers(("198.18.0.77",)).change == "repaired"
    assert two.helper.set_mesh_peers(("198.18.0.77",)).change == "unchanged"
    assert not guests[0].reaches(network.hosts[1].address)
    assert two.helper.set_mesh_peers((one.address,)).change == "repaired"
    assert guests[0].reaches(network.hosts[1].address)


def test_services_of_the_node_are_closed_to_guests_and_outside(lab: Lab, node: Node, network: Network) -> None:
    """SE-7, SE-14: neither the outside nor a guest with an address of the node's own reaches a port; the mesh does."""
    node.helper.ensure_network(network.spec())
    guest = Guest(lab, node, network, network.hosts[0])
    guest.sh("ip addr add 198.18.0.55/24 dev eth0")
    guest.sh(f"ip neigh add {node.address} lladdr {node.link(names.bridge(network.vni))['address']} dev eth0")
    listener = inside(f"/run/netns/{node.namespace}", lambda: socket.create_server(("0.0.0.0", 16509)))
    with listener:
        assert not can_connect(guest.namespace, node.address, 16509)
        assert not can_connect(lab.outside, "198.19.0.101", 16509)
        assert can_connect(lab.nodes[1].namespace, node.address, 16509)
    assert ", 0% packet loss" in lab.outside_sh("ping -c 1 -W 1 198.19.0.101")
    assert "inet6" not in node.sh(f"ip addr show {names.bridge(network.vni)}")
    assert EGRESS in node.sh("nft list table inet steadyfist")


def can_connect(namespace: str, address: str, port: int) -> bool:
    def attempt() -> bool:
        try:
            socket.create_connection((address, port), timeout=0.5).close()
        except OSError:
            return False
        return True

    return inside(f"/run/netns/{namespace}", attempt)

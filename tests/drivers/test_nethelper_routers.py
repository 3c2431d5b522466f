"""The router of a carrier on the real kernel: DHCP, DNS, NAT, what guests cannot reach, and what is repaired."""

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

from nodeagent.nethelper import names
from nodeagent.nethelper.client import NetworkError
from nodeagent.specs import DhcpHost, DnsRecord, EgressSpec
from tests.drivers.netlab import Guest, Lab, Network, Node, inside, wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def guest(lab: Lab, node: Node, network: Network) -> Guest:
    node.helper.ensure_network(network.spec())
    made = Guest(lab, node, network, network.hosts[0])
    made.configure()
    return made


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script"


def resolve(guest: Guest, name: str) -> str:
    return guest.sh(f"timeout 2 busybox nslookup -type=a {name} {guest.network.gateway}", check=False)


def alive(pid: int) -> bool:
    try:
        return b"dnsmasq" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_guest_is_configured_and_reaches_the_outside(node: Node, network: Network, script: Path, guest: Guest) -> None:
    """DN-1, DN-5, HP-1, HP-4: a real DHCP client gets its fixed address, options and names, and reaches the outside."""
    answer = node.helper.ensure_router(network.router())
    assert (answer.change, answer.resolver) == ("created", "started")
    given = guest.ask_dhcp(script)
    assert given["ip"] == network.hosts[0].address
    assert given["router"] == given["dns"] == network.gateway
    assert (given["mtu"], given["domain"], given["lease"]) == ("1550", "lab.example", "3600")
    assert guest.reaches("198.19.0.1")
    assert network.hosts[1].address in resolve(guest, "guest12.lab.example")
    lease = node.helper.leases(network.uuid, network.vni).leases[0]
    host = network.hosts[0]
    assert (lease.mac, lease.address, lease.name) == (host.mac, host.address, host.name)


def test_router_as_it_should_be_is_left_alone(node: Node, network: Network, guest: Guest) -> None:
    """NL-3, NL-4: asked again, nothing is done and nothing restarted."""
    node.helper.ensure_router(network.router())
    pid = node.resolver_pid(network)
    answer = node.helper.ensure_router(network.router())
    assert (answer.change, answer.resolver) == ("unchanged", "")
    assert node.resolver_pid(network) == pid


@pytest.mark.parametrize(
    "damage",
    [
        "ip addr flush dev {inside}",
        "ip route del default",
        "ip link set {outside} down",
        "nft flush chain inet steadyfist forward",
        "nft delete table arp steadyfist",
        "nft add rule inet steadyfist input accept",
        "sysctl -qw net.ipv4.ip_forward=0",
        "ip link del {inside}",
    ],
)
def test_damaged_router_is_repaired(node: Node, network: Network, guest: Guest, damage: str) -> None:
    """NL-3, HP-4: the guest gets out again, and the next look finds nothing to do."""
    node.helper.ensure_router(network.router())
    rules = node.router(network, "nft -s list ruleset")
    node.router(network, damage.format(inside=names.inside(network.vni), outside=names.outside(network.vni)))
    assert node.helper.ensure_router(network.router()).change == "repaired"
    assert node.router(network, "nft -s list ruleset") == rules
    assert guest.reaches("198.19.0.1")
    assert node.helper.ensure_router(network.router()).change == "unchanged"


def test_lost_namespace_is_made_anew(node: Node, network: Network, guest: Guest) -> None:
    """NL-8: what was held for the namespace of that name before is not used for the new one."""
    node.helper.ensure_router(network.router())
    node.sh(f"ip netns del {names.router(network.uuid, network.vni)}")
    assert node.helper.ensure_router(network.router()).change == "created"
    assert guest.reaches("198.19.0.1")


def test_killed_resolver_is_started_again(node: Node, network: Network, script: Path, guest: Guest) -> None:
    """DN-6: killed outright, it is back with the next request, and answers."""
    node.helper.ensure_router(network.router())
    os.kill(node.resolver_pid(network), signal.SIGKILL)
    assert node.helper.verify_resolver(network.uuid, network.vni).dhcp == "mute"
    answer = node.helper.ensure_router(network.router())
    assert (answer.change, answer.resolver) == ("repaired", "restarted")
    assert guest.ask_dhcp(script)["ip"] == network.hosts[0].address


def test_mute_resolver_is_replaced(node: Node, network: Network, guest: Guest) -> None:
    """HC-26, DN-6: a process that lives and does not answer counts for nothing."""
    node.helper.ensure_router(network.router())
    frozen = node.resolver_pid(network)
    os.kill(frozen, signal.SIGSTOP)
    answer = node.helper.ensure_router(network.router())
    assert (answer.change, answer.resolver) == ("repaired", "restarted")
    assert not alive(frozen)
    state = node.helper.verify_resolver(network.uuid, network.vni)
    assert (state.dhcp, state.dns) == ("answers", "answers")


def test_new_name_is_known_when_the_answer_comes(node: Node, network: Network, guest: Guest) -> None:
    """DN-1, DN-2, DN-4: hosts and names change by a reload; the same process knows them when the request returns."""
    node.helper.ensure_router(network.router())
    pid = node.resolver_pid(network)
    changed = network.router(
        hosts=(*network.hosts, network.host(13)), records=(DnsRecord(name="www", address="198.19.0.9"),)
    )
    answer = node.helper.ensure_router(changed)
    assert (answer.change, answer.resolver) == ("repaired", "reloaded")
    assert "198.19.0.9" in resolve(guest, "www.lab.example")
    assert network.host(13).address in resolve(guest, "guest13.lab.example")
    assert node.resolver_pid(network) == pid


def test_address_goes_to_a_new_instance_at_once(
    lab: Lab, node: Node, network: Network, script: Path, guest: Guest
) -> None:
    """DN-4: the lease of the instance before does not keep its address from the next one."""
    node.helper.ensure_router(network.router())
    assert guest.ask_dhcp(script)["ip"] == network.hosts[0].address
    heir = network.host(11, mac=99)
    node.helper.ensure_router(network.router(hosts=(heir, network.hosts[1])))
    assert Guest(lab, node, network, heir).ask_dhcp(script)["ip"] == heir.address
    assert [lease.mac for lease in node.helper.leases(network.uuid, network.vni).leases] == [heir.mac]


def test_dn_3_two_guests_of_one_name_keep_their_addresses(
    lab: Lab, node: Node, network: Network, script: Path, guest: Guest
) -> None:
    """The later one neither takes the earlier one's reservation nor its name: both are answered for it."""
    twins = [DhcpHost(mac=host.mac, address=host.address, name="twin") for host in network.hosts]
    node.helper.ensure_router(network.router(hosts=tuple(twins)))
    assert guest.ask_dhcp(script)["ip"] == twins[0].address
    assert Guest(lab, node, network, twins[1]).ask_dhcp(script)["ip"] == twins[1].address
    answer = resolve(guest, "twin.lab.example")
    assert twins[0].address in answer and twins[1].address in answer


def test_stranger_gets_no_address(lab: Lab, node: Node, network: Network, script: Path, guest: Guest) -> None:
    """DN-1: reservations only."""
    node.helper.ensure_router(network.router())
    assert Guest(lab, node, network, network.host(44)).ask_dhcp(script) == {}


def test_without_dns_port_53_is_closed(node: Node, network: Network, script: Path, guest: Guest) -> None:
    """DN-1, DN-5: no resolver of ours, so the outside's is handed out."""
    node.helper.ensure_router(network.router(dns=False, upstream=("198.19.0.53",)))
    assert guest.ask_dhcp(script)["dns"] == "198.19.0.53"
    assert network.hosts[1].address not in resolve(guest, "guest12.lab.example")
    assert node.helper.verify_resolver(network.uuid, network.vni).dns == "off"


def test_neither_dhcp_nor_dns_has_no_process(node: Node, network: Network, script: Path, guest: Guest) -> None:
    """DN-3: none is started, and one that ran is ended."""
    node.helper.ensure_router(network.router())
    pid = node.resolver_pid(network)
    assert node.helper.ensure_router(network.router(dhcp=False, dns=False)).resolver == "stopped"
    assert not alive(pid)
    assert guest.ask_dhcp(script) == {}
    assert node.helper.ensure_router(network.router(dhcp=False, dns=False)).change == "unchanged"


def test_network_without_egress_stays_inside(node: Node, network: Network, script: Path, guest: Guest) -> None:
    """HP-4: DHCP without NAT; the foot outside goes when egress is taken away."""
    node.helper.ensure_router(network.router())
    assert node.helper.ensure_router(network.router(egress=None)).change == "repaired"
    assert node.link(names.outside_port(network.vni)) is None
    assert guest.ask_dhcp(script)["router"] == network.gateway
    assert not guest.reaches("198.19.0.1")


def test_guest_reaches_neither_underlay_nor_node(lab: Lab, node: Node, network: Network, guest: Guest) -> None:
    """SE-14: not the mesh, not a service of the node by the egress bridge, though the way out is open."""
    lab.outside_sh("ip route add 198.18.0.0/24 via 198.19.0.101")
    node.sh("sysctl -qw net.ipv4.ip_forward=1")
    node.helper.ensure_router(network.router())
    listener = inside(f"/run/netns/{node.namespace}", lambda: socket.create_server(("0.0.0.0", 16514)))
    with listener:
        guest_path = f"/run/netns/{guest.namespace}"
        for address in (node.address, "198.19.0.101"):
            with pytest.raises(OSError):
                inside(guest_path, lambda to=address: socket.create_connection((to, 16514), timeout=0.5))
    assert not guest.reaches(lab.nodes[1].address)
    assert guest.reaches("198.19.0.101")


def test_outside_reaches_no_resolver(lab: Lab, node: Node, network: Network, guest: Guest) -> None:
    """SE-14: the resolver of a network answers that network only, whatever way a question comes in."""
    node.helper.ensure_router(network.router())
    lab.outside_sh(f"ip route replace 10.77.{network.index}.0/24 via {network.egress}")
    for server in (network.egress, network.gateway):
        reply = lab.outside_sh(f"timeout 1 busybox nslookup -type=a guest12.lab.example {server}")
        assert network.hosts[1].address not in reply
    assert ", 0% packet loss" not in lab.outside_sh(f"ping -c 1 -W 1 {guest.host.address}")


def test_new_address_is_announced(lab: Lab, node: Node, network: Network, guest: Guest) -> None:
    """NL-6: the outside hears of the egress address at once, by a gratuitous request and a reply."""
    ears = inside(
        f"/run/netns/{lab.outside}", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    )
    with ears:
        ears.settimeout(2)
        node.helper.ensure_router(network.router())
        address, heard = socket.inet_aton(network.egress), set()
        while heard != {1, 2}:
            frame = ears.recv(2048)
            if frame[28:32] == frame[38:42] == address:
                heard.add(frame[21])


def test_removed_router_leaves_nothing(node: Node, network: Network, guest: Guest) -> None:
    """CM-21, DN-6: no namespace, device, process or file; the network itself stays."""
    node.helper.ensure_router(network.router())
    assert node.helper.inventory().routers[network.uuid] == network.vni
    pid = node.resolver_pid(network)
    assert node.helper.remove_router(network.uuid, network.vni).change == "removed"
    assert node.router_names() == []
    assert node.link(names.inside_port(network.vni)) is node.link(names.outside_port(network.vni)) is None
    assert not alive(pid)
    assert list((node.directory / "resolvers").iterdir()) == []
    assert network.uuid not in node.helper.inventory().routers
    assert node.link(names.bridge(network.vni)) is not None
    assert node.helper.remove_router(network.uuid, network.vni).change == "unchanged"


def test_resolver_of_a_lost_namespace_is_ended(node: Node, network: Network, guest: Guest) -> None:
    """DN-6: a process that outlived its namespace's name is found by its own file."""
    node.helper.ensure_router(network.router())
    pid = node.resolver_pid(network)
    node.sh(f"ip netns del {names.router(network.uuid, network.vni)}")
    assert node.helper.remove_router(network.uuid, network.vni).change == "removed"
    wait_until(lambda: not alive(pid))


def test_restarted_process_takes_over(node: Node, network: Network, guest: Guest) -> None:
    """DN-6, CM-4: guests keep their resolver, nothing is done twice, and the epoch is not forgotten."""
    node.helper.ensure_network(network.spec())
    node.helper.ensure_router(network.router(epoch=5))
    pid = node.resolver_pid(network)
    node.stop(signal.SIGKILL)
    assert alive(pid)
    node.start()
    assert node.helper.ensure_network(network.spec()).change == "unchanged"
    assert node.helper.ensure_router(network.router(epoch=5)).change == "unchanged"
    assert node.resolver_pid(network) == pid
    with pytest.raises(NetworkError) as refused:
        node.helper.ensure_router(network.router(epoch=4))
    assert refused.value.errno == errno.ESTALE


def test_stranger_with_the_pid_is_left_alone(node: Node, network: Network, guest: Guest) -> None:
    """DN-6: a recycled pid is another process; it is not signalled, and a resolver is started."""
    node.helper.ensure_router(network.router())
    pid = node.resolver_pid(network)
    os.kill(pid, signal.SIGKILL)
    path = node.directory / "resolvers" / names.router(network.uuid, network.vni) / "pid"
    path.write_text(str(os.getpid()))
    assert node.helper.ensure_router(network.router()).resolver == "restarted"
    assert node.resolver_pid(network) not in (pid, os.getpid())


def test_ping_from_the_router(node: Node, network: Network, guest: Guest) -> None:
    """HP-6: lines as ping printed them; loss is an answer, a router that is not here is an error."""
    node.helper.ensure_router(network.router())
    assert any(
        ", 0% packet loss" in line for line in node.helper.ping(network.uuid, network.vni, guest.host.address, 1).stdout
    )
    assert any(
        "100% packet loss" in line
        for line in node.helper.ping(network.uuid, network.vni, network.hosts[1].address, 1).stdout
    )
    node.helper.remove_router(network.uuid, network.vni)
    with pytest.raises(NetworkError) as refused:
        node.helper.ping(network.uuid, network.vni, guest.host.address)
    assert refused.value.errno == errno.ENOENT


def test_router_without_its_bridge_is_refused(node: Node, network: Network) -> None:
    """NL-4: the error names the device, and nothing is made."""
    with pytest.raises(NetworkError) as refused:
        node.helper.ensure_router(network.router())
    assert (refused.value.errno, refused.value.object) == (errno.ENODEV, names.bridge(network.vni))
    assert node.router_names() == []


def test_router_that_cannot_be_made_is_taken_away(node: Node, network: Network, guest: Guest) -> None:
    """NF-10: a first attempt that fails leaves no half of a router behind."""
    node.sh(f"ip link add {names.outside_port(network.vni)} type bridge")
    node.sh(f"ip link set {names.outside_port(network.vni)} alias someone")
    with pytest.raises(NetworkError):
        node.helper.ensure_router(network.router())
    assert node.router_names() == []
    node.sh(f"ip link del {names.outside_port(network.vni)}")


def test_two_networks_with_one_netblock(lab: Lab, node: Node, network: Network, guest: Guest) -> None:
    """NW-2: overlapping netblocks do not meet, though they share the outside."""
    other = Network()
    other.take_netblock_of(network)
    node.helper.ensure_router(network.router())
    node.helper.ensure_network(other.spec())
    twin = other.router(egress=EgressSpec(address="198.19.0.250", prefix_length=24, gateway="198.19.0.1"))
    try:
        assert node.helper.ensure_router(twin).change == "created"
        assert guest.reaches("198.19.0.1")
    finally:
        node.helper.remove_router(other.uuid, other.vni)
        node.helper.remove_network(other.uuid, other.vni)

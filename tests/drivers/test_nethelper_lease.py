"""EN-11 and CM-4 on the real kernel: a router carries its network while its lease lives, and not a moment longer."""

import errno
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodeagent.nethelper.client import NetworkError
from nodeagent.wire import LeaseRenewal
from tests.drivers.netlab import Guest, Lab, Network, Node, inside, wait_until

pytestmark = pytest.mark.real
# The lab's time scale is 0.1: the gate closes one second before the lease ends.
MARGIN = 1.0


@pytest.fixture
def guest(lab: Lab, node: Node, network: Network) -> Guest:
    node.helper.ensure_network(network.spec())
    made = Guest(lab, node, network, network.hosts[0])
    made.configure()
    return made


def hears_the_gateway(guest: Guest) -> bool:
    """Whether the router answers ARP, which needs no address of the guest's."""
    guest.sh("ip neigh flush all")
    return "Received 0 " not in guest.sh(f"busybox arping -f -c 2 -w 2 -I eth0 {guest.network.gateway}", check=False)


def test_expired_lease_stops_everything_by_itself(node: Node, network: Network, tmp_path: Path, guest: Guest) -> None:
    """EN-11: with the process frozen, forwarding, ARP and DHCP stop when the time is over."""
    node.helper.ensure_router(network.router(seconds=MARGIN + 3, rivals=True))
    assert guest.reaches("198.19.0.1") and hears_the_gateway(guest)
    os.kill(node.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: not guest.reaches("198.19.0.1"), seconds=6)
        assert not guest.reaches(network.gateway)
        assert not hears_the_gateway(guest)
        assert guest.ask_dhcp(tmp_path / "script") == {}
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert node.helper.renew_lease(network.lease(MARGIN + 60)).change == "repaired"
    assert guest.reaches("198.19.0.1") and hears_the_gateway(guest)


def test_renewal_keeps_it_without_a_gap(node: Node, network: Network, guest: Guest) -> None:
    """EN-11: each renewal starts the clock again, and no packet is lost by it."""
    node.helper.ensure_router(network.router(seconds=MARGIN + 2, rivals=True))
    command = ["ip", "netns", "exec", guest.namespace, "ping", "-n", "-q", "-i", "0.02", "-w", "4", "198.19.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pinging:
        while pinging.poll() is None:
            node.helper.renew_lease(network.lease(MARGIN + 2))
            time.sleep(0.05)
        assert pinging.stdout is not None
        output = pinging.stdout.read()
    assert ", 0% packet loss" in output, output


def test_without_rivals_there_is_no_clock(node: Node, network: Network, guest: Guest) -> None:
    """EN-11: no other node could take over, so nothing is won by stopping; a rival's coming starts the clock."""
    node.helper.ensure_router(network.router(seconds=1, rivals=False))
    time.sleep(1.5)
    assert guest.reaches("198.19.0.1")
    assert node.helper.renew_lease(network.lease(1, rivals=False)).change == "unchanged"
    assert node.helper.ensure_router(network.router(seconds=MARGIN + 2, rivals=True)).change == "unchanged"
    wait_until(lambda: not guest.reaches("198.19.0.1"), seconds=5)


def test_lease_that_is_over_closes_at_once(node: Node, network: Network, guest: Guest) -> None:
    """EN-11: nothing left after the margin means closed, not a while longer."""
    node.helper.ensure_router(network.router(seconds=600, rivals=True))
    node.helper.renew_lease(network.lease(MARGIN))
    assert not guest.reaches("198.19.0.1")
    assert node.helper.verify_resolver(network.uuid, network.vni).dhcp == "fenced"


def test_late_request_does_not_shorten_the_term(node: Node, network: Network, guest: Guest) -> None:
    """EN-11: a spec rendered long ago knows less of its own term than the report that renewed it since."""
    node.helper.ensure_router(network.router(seconds=600, rivals=True))
    assert node.helper.ensure_router(network.router(seconds=MARGIN, rivals=True)).change == "unchanged"
    assert guest.reaches("198.19.0.1")


def test_request_that_lay_in_a_frozen_process_opens_nothing(node: Node, network: Network, guest: Guest) -> None:
    """EN-11: what a lease has left counts from when the request was written, not from when it was read."""
    node.helper.ensure_router(network.router(seconds=MARGIN, rivals=True))
    os.kill(node.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(renew, node, network.lease(MARGIN + 2))
        time.sleep(2.5)
        os.kill(node.pid, signal.SIGCONT)
        asked.result()
    assert not guest.reaches("198.19.0.1")


def renew(node: Node, lease: LeaseRenewal) -> None:
    try:
        node.helper.renew_lease(lease)
    finally:
        node.helper.close()


def test_older_epoch_is_refused(node: Node, network: Network, guest: Guest) -> None:
    """CM-4: neither a spec nor a renewal of an earlier term is obeyed, also after the router was removed."""
    node.helper.ensure_router(network.router(epoch=7))
    for ask in (
        lambda: node.helper.ensure_router(network.router(epoch=6)),
        lambda: node.helper.renew_lease(network.lease(0, epoch=6)),
    ):
        with pytest.raises(NetworkError, match="epoch 6 is older than 7") as refused:
            ask()
        assert refused.value.errno == errno.ESTALE
    assert guest.reaches("198.19.0.1")
    assert node.helper.renew_lease(network.lease(600, epoch=8)).change == "repaired"
    node.helper.remove_router(network.uuid, network.vni)
    with pytest.raises(NetworkError, match="older than 8"):
        node.helper.ensure_router(network.router(epoch=7))
    assert node.router_names() == []


def test_closed_router_announces_nothing(lab: Lab, node: Node, network: Network, guest: Guest) -> None:
    """EN-11, CM-19: the new carrier's router stands ready and is silent until its lease begins, then speaks."""
    ears = inside(
        f"/run/netns/{lab.outside}", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    )
    with ears:
        ears.settimeout(0.7)
        node.helper.ensure_router(network.router(seconds=0, rivals=True))
        assert not announced(ears, network.egress)
        node.helper.renew_lease(network.lease(MARGIN + 60))
        assert announced(ears, network.egress)


def announced(ears: socket.socket, address: str) -> bool:
    try:
        while True:
            frame = ears.recv(2048)
            if frame[28:32] == frame[38:42] == socket.inet_aton(address):
                return True
    except TimeoutError:
        return False


def test_lease_of_no_router_is_an_error(node: Node, network: Network) -> None:
    """NL-4."""
    with pytest.raises(NetworkError) as refused:
        node.helper.renew_lease(network.lease(60))
    assert refused.value.errno == errno.ENOENT

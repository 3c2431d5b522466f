"""A throw-away underlay with nodes, an outside and guests, all in namespaces of their own, for tests on the real kernel (NL-9).

Every node runs the privileged process as it is deployed: a process of its own, with a private /run/netns, reached by its
socket. Names carry this process's id; `Lab.close` removes everything, however far the construction came.
"""

import ctypes
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from nodeagent.nethelper import names
from nodeagent.nethelper.client import NetHelper
from nodeagent.specs import DhcpHost, EgressSpec, LeaseSpec, NetworkSpec, RouterSpec
from nodeagent.wire import LeaseRenewal

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
EGRESS = "egr-br-lab"
_COUNTER = iter(range(1, 1 << 20))
# Of their own, so that one run's networks keep clear of the addresses that tests name themselves.
_NETWORKS = iter(range(1, 190))


def sh(command: str, check: bool = True) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, timeout=30, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr or done.stdout}")
    return done.stdout


def inside(path: str | Path, work: Callable[[], T]) -> T:
    """What `work` returns, run by a thread of its own in the namespace at `path`."""
    results: list[T] = []
    failures: list[BaseException] = []

    def visit() -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                assert ctypes.CDLL(None).setns(descriptor, 0x40000000) == 0
            finally:
                os.close(descriptor)
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


class Node:
    """One node: its namespace, its privileged process, and commands that see what that process sees."""

    def __init__(self, lab: "Lab", number: int, directory: Path) -> None:
        self.namespace = f"sft{os.getpid()}n{number}"
        self.address = f"198.18.0.{number}"
        self.directory = directory
        directory.mkdir()
        lab.add_namespace(self.namespace)
        sh(f"ip -n {lab.underlay} link add p{number} mtu 1600 type veth peer name eth0 mtu 1600 netns {self.namespace}")
        sh(f"ip -n {lab.underlay} link set p{number} master mesh up")
        sh(f"ip -n {self.namespace} addr add {self.address}/24 dev eth0")
        sh(f"ip -n {self.namespace} link set eth0 up")
        sh(f"ip -n {self.namespace} link add {EGRESS} type bridge forward_delay 0")
        sh(f"ip -n {self.namespace} addr add 198.19.0.{100 + number}/24 dev {EGRESS}")
        sh(f"ip -n {self.namespace} link set {EGRESS} up")
        sh(f"ip -n {self.namespace} link add ex type veth peer name ex{number} netns {lab.outside}")
        sh(f"ip -n {self.namespace} link set ex master {EGRESS} up")
        sh(f"ip -n {lab.outside} link set ex{number} master out up")
        # Holds the node's mount namespace, so that the process finds its namespaces again after a restart.
        private = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && touch $0/ready && exec sleep infinity"
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "-m", "--propagation", "private"]
        self._keeper = subprocess.Popen([*enter, "sh", "-c", private, str(directory)])
        lab.undo.callback(_end, self._keeper, signal.SIGKILL)
        wait_until((directory / "ready").exists)
        self._enter = ["nsenter", f"--net=/run/netns/{self.namespace}", f"--mount=/proc/{self._keeper.pid}/ns/mnt"]
        self.helper = NetHelper(directory / "nethelper.sock", timeout=20)
        lab.undo.callback(self._clean)
        self.start()

    @property
    def config(self) -> dict[str, object]:
        return {
            "name": self.namespace,
            "mesh_address": self.address,
            "egress_bridge": EGRESS,
            "run_dir": str(self.directory),
            "user": "nobody",
            "time_scale": 0.1,
        }

    def start(self) -> None:
        program = (
            "from nodeagent.config import Config; from nodeagent.nethelper.server import run; "
            f"run(Config(**{self.config!r}))"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([*self._enter, sys.executable, "-c", program], env=environment)
        wait_until((self.directory / "nethelper.sock").exists)

    @property
    def pid(self) -> int:
        """nsenter becomes what it starts, so the child is the process itself."""
        return self.process.pid

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.helper.close()
        _end(self.process, number)
        (self.directory / "nethelper.sock").unlink(missing_ok=True)

    def sh(self, command: str, check: bool = True) -> str:
        return sh(shlex.join(self._enter) + " " + command, check)

    def router(self, network: "Network", command: str, check: bool = True) -> str:
        return self.sh(f"ip netns exec {names.router(network.uuid, network.vni)} {command}", check)

    def link(self, name: str) -> dict[str, object] | None:
        shown = json.loads(self.sh(f"ip -d -j link show {name}", check=False) or "[]")
        return shown[0] if shown else None

    def ports_of(self, network: "Network") -> list[str]:
        """Guests' plugs in the network's bridge."""
        shown = json.loads(self.sh("ip -j link show type veth") or "[]")
        return [link["ifname"] for link in shown if link.get("master") == names.bridge(network.vni)]

    def router_names(self) -> list[str]:
        return self.sh("ls /run/netns").split()

    def resolver_pid(self, network: "Network") -> int:
        return int((self.directory / "resolvers" / names.router(network.uuid, network.vni) / "pid").read_text())

    def router_path(self, network: "Network") -> str:
        return f"/proc/{self._keeper.pid}/root/run/netns/{names.router(network.uuid, network.vni)}"

    def _clean(self) -> None:
        """However a test ended: no process of this node is left."""
        self.stop(signal.SIGKILL)
        for path in self.directory.glob("resolvers/*/pid"):
            with suppress(OSError, ValueError):
                pid = int(path.read_text())
                if str(self.directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


class Lab:
    """`nodes` nodes on one underlay, each with a cable to one outside network, 198.19.0.0/24."""

    def __init__(self, nodes: int) -> None:
        self.undo = ExitStack()
        self.underlay, self.outside = f"sft{os.getpid()}u", f"sft{os.getpid()}o"
        # A directory that others may enter: dnsmasq reads its files as a user of its own.
        directory = Path(tempfile.mkdtemp(prefix="sft"))
        directory.chmod(0o755)
        self.undo.callback(shutil.rmtree, directory)
        try:
            for namespace, bridge in ((self.underlay, "mesh mtu 1600"), (self.outside, "out")):
                self.add_namespace(namespace)
                sh(f"ip -n {namespace} link add {bridge} type bridge forward_delay 0")
                sh(f"ip -n {namespace} link set {bridge.split()[0]} up")
            sh(f"ip -n {self.outside} addr add 198.19.0.1/24 dev out")
            self.nodes = [Node(self, number, directory / f"n{number}") for number in range(1, nodes + 1)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.undo.close()

    def outside_sh(self, command: str) -> str:
        return sh(f"ip netns exec {self.outside} {command}", check=False)

    def add_namespace(self, name: str) -> None:
        sh(f"ip netns add {name}")
        self.undo.callback(sh, f"ip netns del {name}", check=False)
        sh(f"ip -n {name} link set lo up")


class Network:
    """A network that nobody else has, and the specs that make it."""

    def __init__(self) -> None:
        self.uuid = str(uuid.uuid4())
        self.vni = next(_NETWORKS)
        self.index = self.vni
        self.hosts = tuple(self.host(number) for number in (11, 12))

    def take_netblock_of(self, other: "Network") -> None:
        self.index, self.hosts = other.index, other.hosts

    def host(self, number: int, mac: int = 0) -> DhcpHost:
        address = f"02:00:00:00:{self.index:02x}:{mac or number:02x}"
        return DhcpHost(mac=address, address=f"10.77.{self.index}.{number}", name=f"guest{mac or number}")

    @property
    def gateway(self) -> str:
        return f"10.77.{self.index}.1"

    @property
    def egress(self) -> str:
        """None of the nodes' own, which are 101 and on."""
        return f"198.19.0.{self.index + 2 if self.index < 98 else self.index + 8}"

    def spec(self, *peers: Node) -> NetworkSpec:
        return NetworkSpec(network=self.uuid, vni=self.vni, peers=tuple(peer.address for peer in peers))

    def router(self, seconds: float = 600.0, rivals: bool = False, epoch: int = 1, **changes: object) -> RouterSpec:
        values: dict[str, object] = {
            "network": self.uuid,
            "vni": self.vni,
            "netblock": f"10.77.{self.index}.0/24",
            "gateway": self.gateway,
            "dhcp": True,
            "dns": True,
            "domain": "lab.example",
            "lease": LeaseSpec(epoch=epoch, seconds=seconds, rivals=rivals),
            "egress": EgressSpec(address=self.egress, prefix_length=24, gateway="198.19.0.1"),
            "hosts": self.hosts,
        }
        return RouterSpec(**{**values, **changes})  # type: ignore[arg-type]

    def lease(self, seconds: float, rivals: bool = True, epoch: int = 1) -> LeaseRenewal:
        return LeaseRenewal(network=self.uuid, vni=self.vni, epoch=epoch, seconds=seconds, rivals=rivals)


class Guest:
    """A namespace with one card on a network's bridge, configured by a real DHCP client or by hand."""

    def __init__(self, lab: Lab, node: Node, network: "Network", host: DhcpHost) -> None:
        self.namespace = f"{node.namespace}g{next(_COUNTER)}"
        self.host = host
        self.port = f"tap{next(_COUNTER)}"
        lab.add_namespace(self.namespace)
        mac = f"address {host.mac}"
        sh(f"ip -n {node.namespace} link add {self.port} type veth peer name eth0 {mac} netns {self.namespace}")
        sh(f"ip -n {node.namespace} link set {self.port} mtu 1550")
        sh(f"ip -n {self.namespace} link set eth0 up mtu 1550")
        sh(f"ip -n {node.namespace} link set {self.port} master {names.bridge(network.vni)} up")
        self.network = network

    def sh(self, command: str, check: bool = True) -> str:
        return sh(f"ip netns exec {self.namespace} {command}", check)

    def configure(self) -> None:
        sh(f"ip -n {self.namespace} addr add {self.host.address}/24 dev eth0")
        sh(f"ip -n {self.namespace} route add default via {self.network.gateway}")

    def ask_dhcp(self, script: Path) -> dict[str, str]:
        """What a real DHCP client was given, as its script sees it; empty when nobody answered."""
        script.write_text('#!/bin/sh\n[ "$1" = bound ] && env\nexit 0\n')
        script.chmod(0o755)
        command = f"busybox udhcpc -i eth0 -n -q -f -t 2 -T 1 -O mtu -O dns -O domain -s {script}"
        lines = self.sh(command, check=False).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def reaches(self, address: str, count: int = 1) -> bool:
        return ", 0% packet loss" in self.sh(f"ping -n -c {count} -i 0.2 -W 1 {address}", check=False)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def _end(process: "subprocess.Popen[bytes]", number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)
    process.wait(timeout=10)

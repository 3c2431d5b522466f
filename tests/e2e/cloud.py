"""A lab for the end-to-end tests: its own run directory and ports, driven by the unmodified `sf-client` as a user drives it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import control, credentials, node
from lab.first_boot import environment
from lab.forward import new_socket
from lab.guest_console import GuestConsole
from lab.layout import REPOSITORY, Layout
from lab.tree import Tree

CACHE = Path(os.environ.get("STEADYFIST_TEST_CACHE", "/var/tmp/steadyfist-tests"))
LOGS = CACHE / "e2e-logs"
CLIENT = REPOSITORY / ".venv" / "bin" / "sf-client"
TIME_SCALE = 0.2
IMAGE = "sf://upload/system/tiny"
ELSEWHERE = "10.99.45.1"
"""An address that each node may have for itself, and may fetch images from."""
BOOT_SECONDS = 120.0
SETTLE_SECONDS = 90.0


class Cloud:
    """`run` and `stop` are `make run` and `make stop`; `sf` is the client."""

    def __init__(self, nodes: int) -> None:
        directory = Path(tempfile.mkdtemp(prefix="sfe2e", dir="/var/tmp"))
        self.lab = Layout(run_dir=directory, api_port=_free_port(), offline=True, time_scale=TIME_SCALE)
        self.count = nodes

    def make(self, verb: str) -> subprocess.CompletedProcess[str]:
        """A verb of the Makefile."""
        variables = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "RUN_DIR": str(self.lab.run_dir),
            "API_PORT": str(self.lab.api_port),
            "NODES": str(self.count),
            "TIME_SCALE": str(TIME_SCALE),
            "LAB_OFFLINE": "1",
            "LAB_CACHE": str(CACHE),
            "KEY_HASH_ROUNDS": "4",
            "FETCH_ALLOW": f"{ELSEWHERE}/32",
        }
        command = [sys.executable, "-m", "lab", verb]
        return subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False)

    def close(self) -> None:
        """Remove the lab; its logs are kept until the next one's, for whoever asks what went wrong."""
        shutil.rmtree(LOGS, ignore_errors=True)
        for folder in self.lab.run_dir.glob("**/log"):
            shutil.copytree(folder, LOGS / folder.relative_to(self.lab.run_dir), dirs_exist_ok=True)
        self.make("clean")
        shutil.rmtree(self.lab.run_dir, ignore_errors=True)

    def sf(self, *words: str) -> Any:
        """What the client prints as JSON; its text when it prints none."""
        command = [str(CLIENT), "--json", *words]
        done = subprocess.run(command, env=environment(self.lab), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"sf-client {' '.join(words)}: {done.stdout[-500:]}{done.stderr[-1500:]}"
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    def manage(self, *words: str) -> str:
        return control.manage(self.lab, *words)

    def findings(self) -> str:
        """What the audit says; a copy that is on its way is missing until it is there."""
        try:
            self.manage("audit_nodes")
        except RuntimeError as error:
            return str(error)
        return ""

    def tree(self, name: str) -> Tree:
        return node.tree(self.lab.node(int(name.removeprefix("n"))))

    def trees(self) -> list[Tree]:
        return [control.tree(self.lab), *(node.tree(each) for each in self.lab.known_nodes())]

    def program(self, tree: Tree, name: str) -> int:
        """The machine's process number of one of a tree's programs."""
        inner = json.loads((tree.directory / "processes.json").read_text())[name]["pid"]
        return self.processes(tree)[inner]

    def processes(self, tree: Tree) -> dict[int, int]:
        """{number inside: number on the machine} of every process of a tree."""
        place = os.readlink(f"/proc/{tree.pid}/ns/pid")
        found = {}
        for pid in all_pids():
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == place:
                    found[int(status(pid)["NSpid"].split()[-1])] = pid
            except OSError:
                continue
        return found

    def create(self, name: str, where: str, network: str) -> dict[str, Any]:
        """Ask for a tiny instance on a node; returns what the client shows of it at once."""
        key = f"{self.lab.ssh_key}.pub"
        words = ["instance", "create", name, "1", "128", "-n", network, "-d", f"1@{IMAGE}", "-p", where, "-i", key]
        found: dict[str, Any] = self.sf("--async=continue", *words, "--force")
        return found

    def show(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sf("instance", "show", name)
        return found

    def settled(self, name: str) -> dict[str, Any]:
        """The instance once nothing is being made of it any more."""
        return self.until(lambda: self.show(name), lambda row: row["state"] not in ("initial", "creating"))

    def with_power(self, name: str, power: str) -> dict[str, Any]:
        return self.until(lambda: self.show(name), lambda row: row["power_state"] == power)

    def until(
        self,
        look: Callable[[], Any],
        right: Callable[[Any], object],
        seconds: float = SETTLE_SECONDS,
        pause: float = 0.5,
    ) -> Any:
        end = time.monotonic() + seconds
        while not right(found := look()):
            assert time.monotonic() < end, f"still {found!r}"
            time.sleep(pause)
        return found

    def has_booted(self, name: str, times: int = 1) -> str:
        """The guest's console log once it has said READY that many times."""
        log: str = self.until(
            lambda: str(self.sf("instance", "consoledata", name, "200000")),
            lambda text: text.count("GUEST-READY") >= times,
            BOOT_SECONDS,
        )
        return log

    @contextmanager
    def console(self, name: str) -> Iterator[GuestConsole]:
        """The guest's serial console, over TCP on its node's loopback."""
        row = self.show(name)
        way = new_socket(f"/proc/{self.tree(row['node']).pid}/ns/net")
        way.connect(("127.0.0.1", row["console_port"]))
        with GuestConsole(way) as console:
            yield console

    def ask(self, name: str, command: str) -> tuple[int, str]:
        """Status and output of a command inside the guest."""
        with self.console(name) as console:
            return console.run(command, 60)

    def address(self, name: str) -> str:
        return str(self.show(name)["network_interfaces"][0]["ipv4"])


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def machine_network() -> dict[str, str]:
    """The machine's own links, addresses, rules and routes, without counters and without what labs close off."""
    looks = {"links": "ip -o addr", "routes": "ip route show table all", "rules": "nft -s list ruleset"}
    texts = {}
    for name, command in looks.items():
        done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
        texts[name] = re.sub(r"(valid|preferred)_lft \S+|unreachable 198\.1[89]\..*\n", "", done.stdout)
    return texts


def closed_off(lab: Layout) -> list[str]:
    """The blocks of addresses that this lab closes off in the machine's own network."""
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(line.split()[1] for line in routes if line.endswith(f"metric {lab.metric} "))


def secrets(cloud: Cloud) -> list[str]:
    return list(credentials.read(cloud.lab).values())


def _free_port() -> int:
    """One that is free, with the one for flower five above it."""
    while True:
        with socket.socket() as probe, socket.socket() as second:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 5))
            except OSError:
                continue
            return port

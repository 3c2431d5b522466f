"""A cluster's life from `make run` to `make stop`, as its user sees it. The tests run in order and share one lab."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from lab import node
from lab.first_boot import environment
from lab.forward import listener
from lab.layout import OUTSIDE_ADDRESS, USER
from tests.e2e.cloud import Cloud, all_pids, closed_off, command_line, machine_network, secrets, status

pytestmark = pytest.mark.e2e
NET_ADMIN, NET_RAW, SYS_ADMIN = 12, 13, 21
GUESTS = ("one", "two")


def numbers(cloud: Cloud) -> set[int]:
    """The processes of the whole lab; what comes and goes by itself is left out."""
    return {
        pid
        for tree in cloud.trees()
        for pid in cloud.processes(tree).values()
        if "qemu-img" not in command_line(pid) and "defunct" not in command_line(pid)
    }


def test_the_first_guest_is_there(cloud: Cloud) -> None:
    assert [(row["name"], row["state"]) for row in cloud.sf("node", "list")] == [
        ("n1", "created"),
        ("n2", "created"),
    ]
    assert (cloud.show("first")["state"], cloud.show("first")["power_state"]) == ("created", "on")
    done = cloud.make("status")
    assert done.returncode == 0 and " down " not in done.stdout, done.stdout


def test_a_second_run_changes_nothing(cloud: Cloud) -> None:
    before = cloud.sf("instance", "list"), cloud.sf("network", "list"), cloud.sf("artifact", "list")
    running = numbers(cloud)
    assert cloud.make("run").returncode == 0
    assert (cloud.sf("instance", "list"), cloud.sf("network", "list"), cloud.sf("artifact", "list")) == before
    assert numbers(cloud) >= running


def test_the_machines_own_network_is_left_alone(cloud: Cloud, network_before: dict[str, str]) -> None:
    assert machine_network() == network_before
    assert closed_off(cloud.lab) == ["198.18.0.0/24", "198.19.0.0/24"]


def test_the_agent_has_no_power_over_the_network(cloud: Cloud) -> None:
    uid = int(subprocess.check_output(["id", "-u", USER]))
    roles = set()
    for name in ("n1", "n2"):
        for pid in cloud.processes(cloud.tree(name)).values():
            facts, command = status(pid), command_line(pid)
            if int(facts["Uid"].split()[0]) != uid:
                continue
            held = int(facts["CapEff"], 16) | int(facts["CapPrm"], 16) | int(facts["CapAmb"], 16)
            assert not held & (1 << NET_ADMIN | 1 << NET_RAW | 1 << SYS_ADMIN), command
            roles |= {role for role in ("report", "work", "work-bulk", "serve", "qemu-system") if role in command}
    assert roles == {"report", "work", "work-bulk", "serve", "qemu-system"}


def test_no_secret_is_in_a_command_line_or_readable(cloud: Cloud) -> None:
    lines = [command_line(pid) for tree in cloud.trees() for pid in cloud.processes(tree).values()]
    assert not [secret for secret in secrets(cloud) for line in lines if secret in line]
    private = ("secrets.json", "sfrc", "ssh_key", "control/redis/redis.conf", "nodes/n1/enrolment")
    assert [oct((cloud.lab.run_dir / name).stat().st_mode & 0o077) for name in private] == ["0o0"] * len(private)


def test_two_guests_on_two_nodes(cloud: Cloud) -> None:
    network = cloud.sf("network", "create", "mesh", "10.30.0.0/24", "--dns")["uuid"]
    for name, where in zip(GUESTS, ("n1", "n2"), strict=True):
        cloud.create(name, where, network)
    for name, where in zip(GUESTS, ("n1", "n2"), strict=True):
        row = cloud.settled(name)
        assert (row["state"], row["node"]) == ("created", where), row
        log = cloud.has_booted(name)
        assert re.search(rf"GUEST-LEASE .*ip={re.escape(cloud.address(name))} .*mtu=1550", log), log


def test_one_guest_reaches_the_other_over_the_mesh(cloud: Cloud) -> None:
    status, output = cloud.ask("one", f"ping -c 3 -s 1500 -W 2 {cloud.address('two')}")
    assert status == 0 and " 0% packet loss" in output, output
    assert cloud.ask("two", f"wget -q -O - http://{cloud.address('one')}/") == (0, "one\n")
    status, output = cloud.ask("one", "nslookup two.system.steadyfist")
    assert cloud.address("two") in output, output


def test_se_15_the_serial_console_through_the_console_process(cloud: Cloud) -> None:
    key = environment(cloud.lab)
    login = {"namespace": key["SHAKENFIST_NAMESPACE"], "key": key["SHAKENFIST_KEY"]}
    token = requests.post(f"{cloud.lab.api_url}/auth", json=login, timeout=10).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    opened = requests.post(f"{cloud.lab.api_url}/instances/one/console", headers=headers, timeout=10).json()
    with connect(opened["url"]) as browser:
        browser.send(opened["ticket"])
        browser.send("\necho I am $(hostname)\n")
        heard = b""
        while b"I am one" not in heard:
            heard += browser.recv(timeout=20)  # type: ignore[operator]  # the guest's side is always bytes
    with pytest.raises(ConnectionClosed), connect(opened["url"]) as browser:
        browser.send(opened["ticket"])
        browser.recv(timeout=20)


def test_guests_reach_the_outside_by_the_carriers_address(cloud: Cloud) -> None:
    gateway = next(row["floating_gateway"] for row in cloud.sf("network", "list") if row["name"] == "mesh")
    heard: list[str] = []

    def serve() -> None:
        for _ in GUESTS:
            connection, (address, _port) = outside.accept()
            heard.append(address)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\noutside\n")
            connection.shutdown(socket.SHUT_WR)
            connection.close()

    with listener(cloud.lab.outside, f"{OUTSIDE_ADDRESS}:8000") as outside:
        threading.Thread(target=serve, daemon=True).start()
        for name in GUESTS:
            assert cloud.ask(name, f"wget -q -O - http://{OUTSIDE_ADDRESS}:8000/") == (0, "outside\n")
    assert heard == [gateway] * 2


def test_se_7_guests_and_the_outside_do_not_reach_the_control_plane(cloud: Cloud) -> None:
    status, output = cloud.ask("one", "wget -T 2 -q -O - http://198.18.0.1:13001/livez")
    assert status != 0, output
    assert cloud.ask("one", "ping -c 1 -W 2 198.18.0.1")[0] != 0


def test_power_verbs(cloud: Cloud) -> None:
    for verb, power in (("pause", "paused"), ("unpause", "on"), ("poweroff", "off"), ("poweron", "on")):
        cloud.sf("instance", verb, "two")
        cloud.with_power("two", power)
    log = cloud.has_booted("two", times=2)
    assert "GUEST-ROOTDISK boots=2" in log


def test_a_guest_that_crashed_is_started_again_at_once(cloud: Cloud) -> None:
    begin = time.monotonic()
    found = cloud.processes(cloud.tree("n2")).values()
    os.kill(next(pid for pid in found if "guest=sf-" + cloud.show("two")["uuid"] in command_line(pid)), signal.SIGKILL)
    cloud.until(lambda: [event["message"] for event in cloud.sf("instance", "events", "two")], _restarted, 15)
    print(f"seen after {time.monotonic() - begin:.1f} s")
    cloud.has_booted("two", times=3)


def _restarted(messages: list[str]) -> bool:
    return "guest crashed" in messages and "instance_on_node succeeded" in messages


def test_a_worker_killed_in_mid_create_costs_nothing(cloud: Cloud) -> None:
    network = next(row["uuid"] for row in cloud.sf("network", "list") if row["name"] == "mesh")
    worker = cloud.program(cloud.tree("n1"), "work")
    cloud.create("three", "n1", network)
    os.kill(worker, signal.SIGKILL)
    assert cloud.settled("three")["state"] == "created"
    assert cloud.program(cloud.tree("n1"), "work") != worker
    cloud.has_booted("three")
    cloud.sf("instance", "delete", "three")


def test_a_node_that_lost_its_power_gets_its_guests_back(cloud: Cloud) -> None:
    cloud.tree("n1").kill()
    time.sleep(1)
    assert node.start(cloud.lab.node(1))
    cloud.has_booted("one", times=2)
    cloud.with_power("one", "on")
    status, output = cloud.ask("one", f"ping -c 2 -W 2 {cloud.address('two')}")
    assert status == 0, output
    outside = f"ping -c 1 -W 1 {OUTSIDE_ADDRESS}"
    cloud.until(lambda: cloud.ask("one", outside), lambda answer: answer[0] == 0, 20)


def test_deleting_leaves_nothing_behind(cloud: Cloud) -> None:
    for name in GUESTS:
        cloud.sf("instance", "delete", name)
    cloud.sf("network", "delete", "mesh")
    cloud.until(
        lambda: [row["name"] for row in cloud.sf("instance", "list")["instances"]], lambda names: names == ["first"]
    )
    names = cloud.until(lambda: {row["name"] for row in cloud.sf("network", "list")}, lambda names: "mesh" not in names)
    assert names == {"floating", "first"}
    assert "agree" in cloud.manage("audit_nodes")
    for name in ("n1", "n2"):
        pid = cloud.tree(name).pid
        links = subprocess.check_output(cloud.tree(name).enter(["ls", "/sys/class/net"]), text=True).split()
        vni = next(row["vxlan_id"] for row in cloud.sf("network", "list") if row["name"] == "first")
        others = [link for link in links if link.startswith(("vxlan-", "br-vxlan-")) and f"{vni:06x}" not in link]
        assert others == [], (pid, links)


def test_stop_leaves_nothing_and_run_brings_it_back(cloud: Cloud, network_before: dict[str, str]) -> None:
    places = {os.readlink(f"/proc/{tree.pid}/ns/pid") for tree in cloud.trees()}
    assert cloud.make("stop").returncode == 0
    assert (machine_network(), closed_off(cloud.lab)) == (network_before, [])
    assert not [name for name in os.listdir("/run/netns") if cloud.lab.digits in name]
    assert str(cloud.lab.run_dir) not in Path("/proc/self/mounts").read_text()
    assert not cloud.lab.sockets.exists()
    left = []
    for pid in all_pids():
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") in places:
                left.append(command_line(pid))
        except OSError:
            continue
    assert left == []
    assert cloud.make("status").returncode != 0
    done = cloud.make("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloud.show("first")["power_state"] == "on"
    with urllib.request.urlopen(f"{cloud.lab.api_url}/livez", timeout=5) as answer:
        assert answer.status == 200

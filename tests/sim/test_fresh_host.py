"""The line of `enrol_node --join` on a fresh Debian 12: real apt, real pip, and what the units say to start.

The host is a root file system that mmdebstrap has just made, with its own processes, mounts and network: one cable leads to
the control plane, and a proxy there to the archives. Only `systemctl` is a stand-in (`units.py`), as no systemd is process 1;
the system's bus is started in its place.
With PROVE=1 only: it downloads some 400 MB.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.clean_room import DEVICES, make_system
from lab.network import ip
from lab.plane import Client, Plane, Size, new_instance, until
from nodeagent.host import PROGRAMS

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("PROVE") or os.geteuid() != 0, reason="root, and packages from the archives"),
    pytest.mark.timeout(1800),
]
CONTROL, HOST, PROXY = "198.18.77.1", "198.18.77.2", "198.18.77.1:3128"
JOIN_SECONDS, GUEST_SECONDS = 60.0, 120.0
PROXIES = ("http_proxy", "https_proxy")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them: the control plane's side, and the host."""
    there, host = f"sfc{os.getpid()}", f"sfh{os.getpid()}"
    try:
        for name in (there, host):
            ip("netns", "add", name)
            ip("link", "set", "lo", "up", namespace=name)
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", host, namespace=there)
        for name, address in ((there, CONTROL), (host, HOST)):
            ip("addr", "add", f"{address}/24", "dev", "eth0", namespace=name)
            ip("link", "set", "eth0", "up", namespace=name)
        yield there, host
    finally:
        for name in (there, host):
            ip("netns", "del", name, check=False)


@pytest.fixture
def plane(cable: tuple[str, str]) -> Iterator[Plane]:
    """A control plane without nodes, that the host reaches by the cable, and by its proxy the archives."""
    made = Plane(Size(nodes=0, time_scale=1.0))
    there, internal = cable[0], made.internal_ports[0]
    made.size.more |= {
        "INTERNAL_ADDRESSES": f"http://{CONTROL}:{internal}",
        "NODE_BROKER_URL": made.broker().replace("127.0.0.1", CONTROL),
    }
    routes = [f"{there}/{CONTROL}:{port}=/127.0.0.1:{port}" for port in (internal, made.broker_port)]
    try:
        made.add(made._process("forward", "lab.forward", *routes)).start()
        made.add(made._process("proxy", "lab.proxy", there, PROXY, FETCH_ALLOW="0.0.0.0/0")).start()
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def room() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sfhost", dir="/var/tmp"))
    try:
        make_system(made, ("ca-certificates", "curl", "dbus"), "important")
        (made / "etc/apt/apt.conf.d/80proxy").write_text(f'Acquire::http::Proxy "http://{PROXY}";\n')
        stand_in = made / "usr/local/bin/systemctl"
        shutil.copy(Path(__file__).with_name("units.py"), stand_in)
        stand_in.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def host(cable: tuple[str, str], room: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Its first process: a shell that runs what it is told on its standard input. With it all processes of the host end."""
    inside = (
        "mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run;"
        " mkdir /run/lock /run/dbus; hostname fresh; dbus-daemon --system --fork; exec bash -s"
    )
    # QEMU asks for a root and a /dev that are mounts, as every host has them
    own = (
        "mount --bind $0 $0; mount -t tmpfs dev $0/dev; mkdir $0/dev/pts; mount -t devpts devpts $0/dev/pts;"
        " ln -s pts/ptmx $0/dev/ptmx"
    )
    script = f"{own}; {DEVICES}; exec chroot $0 /bin/sh -c '{inside}'"
    kinds = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private")
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environment |= {"LANG": "C.UTF-8", "no_proxy": CONTROL, "SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES}
    environment |= dict.fromkeys(PROXIES, f"http://{PROXY}")
    command = ["nsenter", f"--net=/run/netns/{cable[1]}", "unshare", *kinds, "sh", "-c", script, str(room)]
    with (room / "joined.log").open("wb") as log:
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
    try:
        yield made
    finally:
        made.send_signal(signal.SIGKILL)
        made.communicate(timeout=30)


def test_a_fresh_host_joins_within_a_minute_of_its_packages(plane: Plane, room: Path, host):
    line = plane.manage("enrol_node", "fresh", "--join").strip()
    begin = time.monotonic()
    host.stdin.write(f"{line}; echo ended with $?\n".encode())
    host.stdin.flush()
    said = room / "joined.log"
    over = "ended with"
    until(lambda: over in said.read_text() or host.poll() is not None, 1500, "the line has ended", pause=0.5)
    assert "fresh has joined: fresh reports to" in said.read_text(), said.read_text()[-3000:]
    joined = time.monotonic()
    with plane.api() as client:

        def here() -> bool:
            rows = client.ok("GET", "/nodes")
            return [(row["name"], row["state"]) for row in rows] == [("fresh", "created")]

        try:
            until(here, JOIN_SECONDS, "the node reports", pause=0.5)
        except AssertionError as late:
            raise AssertionError(_logs(room)) from late
        took = time.monotonic() - joined
        node = client.ok("GET", "/nodes/fresh")
        assert (node["ip"], node["error_message"]) == (HOST, None)
        resources = client.ok("GET", "/admin/resources")["per_node"]["fresh"]
        assert resources["cpu_max"] > 0 and resources["accepts_instances"]
        _start_a_guest(client, room)
    print(f"packages {joined - begin:.0f} s, then {took:.1f} s", file=sys.stderr)


def _start_a_guest(client: Client, room: Path) -> None:
    """An empty disk without networks is enough to show that libvirt, QEMU and every role of the agent work together."""
    made = client.ok("POST", "/instances", new_instance("first", disk=[{"size": 1}]))

    def running() -> bool:
        row = client.ok("GET", f"/instances/{made['uuid']}")
        assert row["state"] != "error", (row["error_message"], _logs(room))
        return (row["state"], row["power_state"]) == ("created", "on")

    until(running, GUEST_SECONDS, "a guest runs", pause=0.5)
    roles = {f"process_cpu_fraction_{role}" for role in ("nethelper", *PROGRAMS)}
    until(lambda: roles <= client.ok("GET", "/nodes/fresh/processmetrics").keys(), 90, "every role runs", pause=1)


def _logs(room: Path) -> str:
    return "\n".join(f"{path.name}: {path.read_text()[-600:]}" for path in sorted(room.glob("var/log/*.service.log")))

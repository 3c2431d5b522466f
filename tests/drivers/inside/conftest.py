"""A private hypervisor for the tests in this folder, which run in namespaces of their own (see test_real_guest.py)."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import guest_image
from nodeagent.config import Config
from nodeagent.drivers.real_host import RealHost
from nodeagent.nethelper.protocol import Damage, Echo
from nodeagent.specs import NetworkSpec, RouterSpec
from tests.node_specs import BLOB, UPLOAD, RecordingCall, blob_spec

CACHE = Path(os.environ.get("STEADYFIST_TEST_CACHE", "/var/tmp/steadyfist-tests"))
MESH_ADDRESS = "198.18.77.1"
VNI = 100
MTU = 1450
LIBVIRTD = """
listen_tls = 0
listen_tcp = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
host_uuid = "5f0f2a52-0000-4000-8000-000000000001"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
QEMU = """
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""


@dataclass
class StillNet:
    """A net in which nothing is to be done: the test has made its one bridge."""

    networks: Mapping[str, int] = field(default_factory=dict)
    routers: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def ensure_network(self, spec: NetworkSpec) -> str:
        return "unchanged"

    def remove_network(self, network: str, vni: int) -> str:
        return "unchanged"

    def ensure_router(self, spec: RouterSpec) -> str:
        return "unchanged"

    def remove_router(self, network: str, vni: int) -> str:
        return "unchanged"

    def inventory(self) -> "StillNet":
        return self

    def check_routers(self) -> Damage:
        return Damage(routers={})

    def ping(self, network: str, vni: int, address: str) -> Echo:
        raise AssertionError("no router is here")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Libvirtd:
    """The daemon; `start` again after `kill` finds the guests that lived on."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        socket_path = Path("/run/libvirt/libvirt-sock")
        socket_path.unlink(missing_ok=True)
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(["libvirtd"], stdout=output, stderr=output)
        end = time.monotonic() + 20
        while not socket_path.exists():
            assert self._process.poll() is None and time.monotonic() < end, self._output.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirtd]:
    """libvirtd with folders of its own; QEMU's features, which take seconds to ask for, are kept between runs."""
    folders = tmp_path_factory.mktemp("libvirt")
    (CACHE / "libvirt").mkdir(parents=True, exist_ok=True)
    for place, source in {
        "/run/libvirt": folders / "run",
        "/var/lib/libvirt": folders / "lib",
        "/var/log/libvirt": folders / "log",
        "/etc/libvirt": folders / "etc",
        "/var/cache/libvirt": CACHE / "libvirt",
    }.items():
        source.mkdir(exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", str(source), place)
    (folders / "etc" / "libvirtd.conf").write_text(LIBVIRTD)
    (folders / "etc" / "qemu.conf").write_text(QEMU)
    daemon = Libvirtd(folders / "output")
    daemon.start()
    yield daemon
    daemon.kill()


@pytest.fixture(scope="session")
def network() -> None:
    """Loopback, the mesh address, and a bridge without any DHCP."""
    run("mount", "-t", "sysfs", "none", "/sys")
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", f"{MESH_ADDRESS}/24", "dev", "lo")
    run("ip", "link", "add", f"br-vxlan-{VNI:06x}", "mtu", str(MTU), "type", "bridge")
    run("ip", "link", "set", f"br-vxlan-{VNI:06x}", "up")
    run("ip", "addr", "add", "10.0.0.1/24", "dev", f"br-vxlan-{VNI:06x}")


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def host(libvirtd: Libvirtd, network: None, state: Path) -> Iterator[RealHost]:
    config = Config(name="n1", mesh_address=MESH_ADDRESS, state_dir=str(state), libvirt_uri="qemu:///system")
    real = RealHost(config, StillNet())
    real.watch()
    yield real
    real.close()


@pytest.fixture(scope="session")
def image(host: RealHost, state: Path) -> Path:
    """The tiny guest image as a cached blob."""
    upload = state / "uploads" / UPLOAD
    size = upload.write_bytes(guest_image.build(CACHE).read_bytes())
    host.adopt_upload(UPLOAD, size, blob_spec(), RecordingCall())
    return state / "blobs" / BLOB


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private key whose public half the guest's config drive has."""
    path = tmp_path_factory.mktemp("ssh") / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    return path

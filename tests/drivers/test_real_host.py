"""RealHost where no hypervisor answers: what it holds, what it offers, and that silence is never absence (HC-22)."""

import errno
import ipaddress
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nodeagent.config import Config, Reserve, Share
from nodeagent.drivers import machine
from nodeagent.drivers.real_host import RealHost
from nodeagent.fake_host import FakeHost
from nodeagent.host import Call, Machine, Refused, Retry
from nodeagent.nethelper.protocol import Damage, Echo, NetworkError
from nodeagent.specs import BlobSource, NetworkSpec, RouterSpec
from tests.node_specs import (
    BLOB,
    INSTANCE,
    NETWORK,
    UPLOAD,
    RecordingCall,
    blob_spec,
    disk_spec,
    instance_spec,
    network_spec,
)


@dataclass(frozen=True)
class Change:
    change: str


@dataclass
class RecordingNet:
    networks: Mapping[str, int] = field(default_factory=lambda: {NETWORK: 100})
    routers: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ("br-vxlan-0000ff",)
    error: Exception | None = None

    def ensure_network(self, spec: NetworkSpec) -> "Change":
        return Change(f"ensured {spec.vni}")

    def remove_network(self, network: str, vni: int) -> "Change":
        return Change(f"removed {vni}")

    def ensure_router(self, spec: RouterSpec) -> "Change":
        return Change(f"ensured {spec.vni}")

    def remove_router(self, network: str, vni: int) -> "Change":
        return Change(f"removed {vni}")

    def check_routers(self) -> Damage:
        return Damage(routers={NETWORK: "by the test"})

    def ping(self, network: str, vni: int, address: str) -> Echo:
        if vni == 0:
            raise NetworkError(errno.ENOENT, "router", "this node has no such router")
        return Echo(stdout=(f"PING {address}",), stderr=())

    def inventory(self) -> "RecordingNet":
        if self.error:
            raise self.error
        return self


@pytest.fixture
def net() -> RecordingNet:
    return RecordingNet()


@pytest.fixture
def host(tmp_path: Path, net: RecordingNet) -> RealHost:
    config = Config(
        name="n1",
        mesh_address="127.0.0.1",
        state_dir=str(tmp_path),
        libvirt_uri="qemu+unix:///system?socket=/nonexistent/sock",
        share=Share(cpus=3, memory_mb=2048, disk_gb=7),
    )
    return RealHost(config, net, acceleration="tcg")


def test_real_and_fake_are_one_kind_of_machine(host: RealHost) -> None:
    machines: list[Machine] = [host, FakeHost()]
    call: Call = RecordingCall()
    for each in machines:
        each.forget_attempt(call.token, f"instance:{INSTANCE}")
        assert each.events.empty() and each.trim_console_logs() == 0
        each.close()


def test_network_verbs_go_to_the_hand_on_the_net(host: RealHost) -> None:
    assert (host.ensure_network(network_spec()), host.remove_network(NETWORK, 7)) == ("ensured 100", "removed 7")


def test_hc_22_a_silent_hypervisor_makes_the_inventory_incomplete(host: RealHost, tmp_path: Path) -> None:
    (tmp_path / "instances" / INSTANCE).mkdir()
    seen = host.inventory()
    assert seen.unreadable == ("instances", "br-vxlan-0000ff")
    assert (seen.instances, seen.networks, seen.blobs) == ({}, {NETWORK: 100}, {})
    assert seen.damaged == {NETWORK: "by the test"}
    with pytest.raises(Retry):
        host.domain(INSTANCE)


def test_hc_22_so_does_a_silent_net_and_an_unreadable_folder(host: RealHost, net: RecordingNet, tmp_path: Path) -> None:
    net.error = ConnectionRefusedError()
    (tmp_path / "blobs").rmdir()
    assert set(host.inventory().unreadable) == {"instances", "networks", "blobs"}


def test_hp_6_ping_answers_lines_and_a_missing_router_is_refused(host: RealHost) -> None:
    assert host.ping(NETWORK, 7, "10.0.0.9") == (("PING 10.0.0.9",), ())
    with pytest.raises(Refused) as refused:
        host.ping(NETWORK, 0, "10.0.0.9")
    assert refused.value.code == "router.absent"


def test_a_blob_lives_here_from_upload_to_removal(host: RealHost, tmp_path: Path) -> None:
    (tmp_path / "uploads" / UPLOAD).write_bytes(bytes(4096))
    facts = host.adopt_upload(UPLOAD, 4096, blob_spec(), RecordingCall())
    assert (host.blob(BLOB), host.inventory().blobs) == (facts, {BLOB: 4096})
    assert [host.remove_blob(BLOB), host.remove_blob(BLOB)] == ["removed", "unchanged"]


def test_se_8_loopback_is_no_place_to_fetch_from(host: RealHost) -> None:
    source = BlobSource(url="http://127.0.0.1:1/image")
    with pytest.raises(Refused) as caught:
        host.fetch_blob(blob_spec(source=source), source, RecordingCall())
    assert caught.value.code == "fetch.forbidden"


def test_a_start_without_its_disk_or_bridge_changes_nothing(host: RealHost) -> None:
    with pytest.raises(FileNotFoundError):
        host.start_domain(instance_spec(), "digest")
    with pytest.raises(Retry) as caught:
        host.start_domain(instance_spec(disks=()), "digest")
    assert caught.value.code == "network.missing"


def test_the_share_is_what_the_node_offers(host: RealHost) -> None:
    offered = host.capacity()
    assert (offered.cpus, offered.memory_mb, offered.disk_gb) == (3, 2048, 7)
    assert offered.extra["acceleration"] == "tcg"


@pytest.mark.parametrize(
    ("threads", "memory_mb", "disk_gb", "offered"),
    [
        (64, 65536, 100, (62, 63488, 80)),
        (64, 65536, 1000, (62, 63488, 900)),  # a tenth of the disk
        (3, 3000, 30, (2, 1500, 15)),
        (1, 500, 1, (1, 250, 1)),
    ],
)
def test_sc_8_the_host_keeps_its_reserve_and_never_takes_the_last_thread(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    threads: int,
    memory_mb: int,
    disk_gb: int,
    offered: tuple[int, ...],
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(total=disk_gb * 2**30)
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    monkeypatch.setattr(machine, "_memory_mb", lambda: memory_mb)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    found = machine.capacity(Share(), Reserve(), tmp_path, "kvm")
    assert (found.cpus, found.memory_mb, found.disk_gb) == offered
    assert found.extra["reserved"]["cpus"] == threads - found.cpus


def test_sc_8_the_reserve_is_configuration(tmp_path: Path) -> None:
    plain = machine.capacity(Share(), Reserve(), tmp_path, "kvm")
    less = machine.capacity(Share(), Reserve(cpus=0, memory_mb=0, disk_gb=0), tmp_path, "kvm")
    assert less.cpus == (os.cpu_count() or 1) >= plain.cpus
    assert less.memory_mb > plain.memory_mb
    assert less.extra["reserved"] == {"cpus": 0, "memory_mb": 0, "disk_gb": less.extra["reserved"]["disk_gb"]}


def test_en_15_what_an_attempt_left_is_forgotten(host: RealHost, tmp_path: Path) -> None:
    (tmp_path / "blobs" / f".{BLOB}.t1").touch()
    host.forget_attempt("t1", f"blob:{BLOB}")
    assert list((tmp_path / "blobs").iterdir()) == []


def test_se_10_every_console_log_is_held_to_its_limit(host: RealHost, tmp_path: Path) -> None:
    log = tmp_path / "instances" / INSTANCE / "console.log"
    log.parent.mkdir()
    log.write_bytes(bytes(3 * 2**20))
    assert (host.trim_console_logs(), host.trim_console_logs()) == (1, 0)


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert machine.is_free("127.0.0.1", port) is False
    assert machine.is_free("127.0.0.1", port) is True


def test_the_mtu_is_read_from_the_kernel_and_absence_is_told() -> None:
    assert machine.device_mtu("lo") == 65536
    assert machine.device_mtu("no-such-device") is None


def test_se_8_the_underlay_is_read_from_the_routing_table(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert machine.networks_on("eth0", table) == [ipaddress.IPv4Network("10.0.0.0/24")]
    assert machine.networks_on("eth2", table) == []


@pytest.mark.parametrize(("free_kb", "codes"), [(900_000, []), (100_000, ["memory.full"])])
def test_a_start_that_failed_is_explained_by_what_memory_there_is(
    tmp_path: Path, free_kb: int, codes: list[str]
) -> None:
    table = tmp_path / "meminfo"
    table.write_text(f"MemTotal: 2000000 kB\nMemAvailable: {free_kb} kB\nSwapFree: 100000 kB\nHugePages_Total: 0\n")
    found = []
    try:
        machine.explain(512, [], RuntimeError("QEMU ended"), table)
    except Refused as error:
        found.append(error.code)
    assert found == codes


def test_sc_26_what_is_in_use_is_measured_on_the_machine_itself(host: RealHost) -> None:
    told = host.measured()
    assert told["cpus"] >= 0
    assert 0 < told["memory_mb"] < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert told["disk_gb"] >= 0


@pytest.mark.parametrize("changes", [{"uefi": True}, {"disks": (disk_spec(device="nvme0n1", bus="nvme"),)}])
def test_what_this_node_cannot_give_is_refused(
    host: RealHost, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "FIRMWARE", Path("/nonexistent"))
    with pytest.raises(Refused) as caught:
        host.start_domain(instance_spec(**changes), "digest")
    assert caught.value.code == "node.unsupported"

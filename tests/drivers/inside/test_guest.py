"""One tiny guest through its whole life on a real hypervisor: the tests run in order and share it."""

import hashlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import pytest

from lab.guest_console import GuestConsole
from nodeagent.action import Result
from nodeagent.actions import (
    ensure_instance,
    observe_instance,
    reboot_instance,
    remove_blob,
    remove_instance,
    snapshot_instance,
)
from nodeagent.drivers import domain_xml
from nodeagent.drivers.domains import Domains
from nodeagent.drivers.graphics import Graphics
from nodeagent.drivers.layout import Layout
from nodeagent.drivers.real_host import RealHost
from nodeagent.host import CommandResult, Refused, Retry, Transfer
from nodeagent.specs import CapturedDisk, ConfigDrive, InstanceSpec, Power
from tests.drivers.inside.conftest import MESH_ADDRESS, MTU, Libvirtd
from tests.node_specs import BLOB, INSTANCE, NETWORK, RecordingCall, disk_spec, instance_spec, interface_spec

SPEC = instance_spec(
    memory_mb=96,
    disks=(disk_spec(), disk_spec(device="vdc", blob=None, size_gb=1)),
    interfaces=(interface_spec(dhcp=False),),
)
BOOT_SECONDS = 90.0
FILE, COPY = "0f" + BLOB[2:], "0c" + BLOB[2:]
PUBLIC_KEY = ["ssh-ed25519 AAAA nobody"]


def ensure(host: RealHost, spec: InstanceSpec = SPEC, power: Power = Power.ON) -> Result:
    call = RecordingCall()
    call.drive = ConfigDrive(hostname="guest", ssh_key=PUBLIC_KEY[0], user_data="#!/bin/sh\nexit 7\n")
    return ensure_instance.run(ensure_instance.Request(spec=replace(spec, power=power)), host, call)


def heard(host: RealHost, *awaited: str) -> str:
    """Wait for the next event with one of these causes; what came before it (a late "started") does not matter."""
    while (cause := host.events.get(timeout=20).cause) not in awaited:
        pass
    return cause


def finish(host: RealHost, pid: int) -> CommandResult:
    while (result := host.result_in_guest(INSTANCE, pid)) is None:
        time.sleep(0.1)
    return result


def captured(*devices: str) -> tuple[CapturedDisk, ...]:
    blobs = {"vda": FILE, "vdc": COPY}
    return tuple(CapturedDisk(device=name, revision=0, blob=blobs.get(name, FILE)) for name in devices)


def content(state: Path, blob: str, folder: Path, name: str) -> str:
    """A file of the file system that a captured disk holds."""
    raw = folder / "raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", state / "blobs" / blob, raw], check=True)
    return subprocess.check_output(["mtype", "-i", raw, f"::/{name}"], text=True)


def end_heard(host: RealHost) -> str:
    return heard(host, "guest", "crashed", "cut")


def running(connection: libvirt.virConnect) -> ElementTree.Element:
    return ElementTree.fromstring(connection.lookupByUUIDString(INSTANCE).XMLDesc(0))


def inside(serial: GuestConsole, command: str, seconds: float) -> None:
    """Wait until a command in the guest succeeds."""
    end = time.monotonic() + seconds
    while (answer := serial.run(command))[0] != 0:
        assert time.monotonic() < end, f"{command}: {answer}"
        time.sleep(0.5)


def console() -> GuestConsole:
    return GuestConsole((domain_xml.LOOPBACK, SPEC.console_port))


@pytest.fixture
def connection(host: RealHost) -> Iterator[libvirt.virConnect]:
    """The test's own eyes on libvirt."""
    own = libvirt.open("qemu:///system")
    yield own
    own.close()


def qemu_pid() -> int:
    return int(Path(f"/run/libvirt/qemu/{domain_xml.domain_name(INSTANCE)}.pid").read_text())


@pytest.fixture(scope="module")
def digest(image: Path) -> str:
    return hashlib.sha512(image.read_bytes()).hexdigest()


def test_a_new_instance_boots(host: RealHost, digest: str, key: Path) -> None:
    PUBLIC_KEY[0] = key.with_suffix(".pub").read_text()
    begin = time.monotonic()
    assert ensure(host).change == "created"
    with console() as serial:
        config = serial.wait(r"GUEST-CONFIG (.*?)\r?\n", BOOT_SECONDS)[1]
        serial.wait("GUEST-ROOTDISK boots=1 ", BOOT_SECONDS)
        serial.wait("GUEST-FIXED if=eth0 ip=10.0.0.5", BOOT_SECONDS)
        serial.wait("GUEST-USERDATA status=7", BOOT_SECONDS)
        serial.wait("GUEST-READY", BOOT_SECONDS)
        print(f"ready after {time.monotonic() - begin:.1f} s")
        assert f"uuid={INSTANCE} hostname=guest links=1" in config
        assert serial.run("cat /sys/class/net/eth0/mtu; ip -o -4 addr show eth0; false") == (
            1,
            f"{MTU}\n2: eth0    inet 10.0.0.5/24 scope global eth0\\       valid_lft forever preferred_lft forever\n",
        )
        assert serial.run("cat /sys/block/vdc/size") == (0, f"{2**30 // 512}\n")
    assert heard(host, "started")
    assert heard(host, "agent")


def test_it_is_reached_over_its_network(key: Path) -> None:
    with urllib.request.urlopen("http://10.0.0.5/cgi-bin/info", timeout=10) as answer:
        assert answer.read().startswith(b"guest\n")
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    command = ["ssh", "-q", "-i", str(key), *options, "root@10.0.0.5", "hostname"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout == "guest\n"


def test_its_agent_answers(connection: libvirt.virConnect) -> None:
    domain = connection.lookupByUUIDString(INSTANCE)
    assert libvirt_qemu.qemuAgentCommand(domain, '{"execute": "guest-ping"}', 10, 0) == '{"return":{}}'


def test_what_it_has_used_is_counted(host: RealHost) -> None:
    used = host.usage().instances[INSTANCE]
    assert used["cpu_seconds"] > 0.1 and used["memory_mb"] > 16
    assert used["disks"]["vda"]["read_bytes"] > 2**10
    assert used["interfaces"][0]["sent_bytes"] > 0 and used["interfaces"][0]["received_bytes"] > 0


def test_ag_1_commands_and_files_by_its_agent(host: RealHost) -> None:
    state = host.guest_states()[INSTANCE]
    assert state.booted is not None and 0 <= state.since - state.booted < 600
    ended = finish(host, host.start_in_guest(INSTANCE, "hostname; echo oops >&2; exit 3"))
    assert ended == CommandResult(code=3, stdout=b"guest\n", stderr=b"oops\n")
    assert finish(host, host.start_in_guest(INSTANCE, "kill -TERM $$")).code == 128 + signal.SIGTERM
    slow = host.start_in_guest(INSTANCE, "sleep 100")
    assert host.result_in_guest(INSTANCE, slow) is None
    host.kill_in_guest(INSTANCE, slow)
    assert finish(host, slow).code == 128 + signal.SIGKILL

    content, target = os.urandom(700_000), Transfer(path="/tmp/file", patience=30, mode=0o640)
    host.keep_blob(FILE, content, RecordingCall())
    host.write_in_guest(INSTANCE, FILE, target, RecordingCall())
    said = finish(host, host.start_in_guest(INSTANCE, "stat -c %a /tmp/file; sha512sum /tmp/file")).stdout.split()
    assert said[:2] == [b"640", hashlib.sha512(content).hexdigest().encode()]
    facts = host.read_in_guest(INSTANCE, COPY, replace(target, ceiling=10**6), RecordingCall())
    assert (facts.size, facts.sha512) == (len(content), hashlib.sha512(content).hexdigest())
    for blob in (FILE, COPY):
        assert host.remove_blob(blob) == "removed"


@pytest.mark.parametrize(("path", "ceiling", "code"), [("/none", 99, "refused"), ("/bin/busybox", 9, "too_large")])
def test_a_file_of_the_guest_that_cannot_be_had_leaves_nothing(
    host: RealHost, state: Path, path: str, ceiling: int, code: str
) -> None:
    with pytest.raises(Refused) as refusal:
        host.read_in_guest(INSTANCE, COPY, Transfer(path=path, patience=30, ceiling=ceiling), RecordingCall())
    assert refusal.value.code == f"guest.{code}"
    assert not list((state / "blobs").glob(f"*{COPY}*"))


def test_ar_14_disks_are_captured_while_the_guest_writes(host: RealHost, state: Path, tmp_path: Path) -> None:
    prepare = "mke2fs /dev/vdc && mkdir -p /mnt/data && mount -t ext4 /dev/vdc /mnt/data && echo data > /mnt/data/file"
    assert finish(host, host.start_in_guest(INSTANCE, prepare)).code == 0
    writer = host.start_in_guest(INSTANCE, "while true; do date > /mnt/root/clock; sync; done")
    assert finish(host, host.start_in_guest(INSTANCE, "echo before > /mnt/root/marker; sync")).code == 0
    request = snapshot_instance.Request(instance=INSTANCE, disks=captured("vda", "vdc"), quiesce=True)
    result = snapshot_instance.run(request, host, RecordingCall())
    assert finish(host, host.start_in_guest(INSTANCE, "echo after > /mnt/root/marker; sync")).code == 0
    assert (result.change, result.facts["quiesced"]) == ("created", True)
    assert content(state, FILE, tmp_path, "marker") == "before\n"
    facts = result.facts["blobs"]["vda"]
    assert facts["sha512"] == hashlib.sha512((state / "blobs" / FILE).read_bytes()).hexdigest()
    assert result.facts["blobs"]["vdc"]["virtual_size"] == 2**30
    assert snapshot_instance.run(request, host, RecordingCall()).change == "unchanged"
    host.kill_in_guest(INSTANCE, writer)
    for blob in (FILE, COPY):
        assert host.remove_blob(blob) == "removed"
    assert "marker" in finish(host, host.start_in_guest(INSTANCE, "ls /mnt/root")).stdout.decode()


def test_a_capture_that_is_cancelled_leaves_nothing(host: RealHost, state: Path) -> None:
    request = snapshot_instance.Request(instance=INSTANCE, disks=captured("vda", "vdc"), quiesce=True)
    with pytest.raises(Refused, match="cancelled"):
        snapshot_instance.run(request, host, RecordingCall(cancel_at=0))
    assert {path.name for path in (state / "blobs").iterdir()} == {BLOB, f"{BLOB}.json"}
    assert snapshot_instance.run(request, host, RecordingCall()).change == "created"
    for blob in (FILE, COPY):
        assert host.remove_blob(blob) == "removed"
    with pytest.raises(Refused, match="no file"):
        snapshot_instance.run(replace(request, disks=captured("vdx")), host, RecordingCall())


def test_a_guest_that_was_left_frozen_goes_on(host: RealHost) -> None:
    domains = host._domains  # what the process that died had done
    domains.ask_guest(INSTANCE, {"execute": "guest-fsfreeze-freeze"}, 20)
    assert domains.ask_guest(INSTANCE, {"execute": "guest-fsfreeze-status"}, 20) == "frozen"
    host.forget_attempt("no-such-token", f"instance:{INSTANCE}")
    assert domains.ask_guest(INSTANCE, {"execute": "guest-fsfreeze-status"}, 20) == "thawed"


def test_a_repeat_is_harmless(host: RealHost, connection: libvirt.virConnect) -> None:
    identifier = connection.lookupByUUIDString(INSTANCE).ID()
    assert [ensure(host).change for _ in range(3)] == ["unchanged"] * 3
    assert connection.lookupByUUIDString(INSTANCE).ID() == identifier


MORE = replace(
    SPEC,
    disks=(
        *SPEC.disks,
        disk_spec(device="vdd", blob=None, size_gb=1),
        disk_spec(device="sde", bus="scsi", blob=None, size_gb=1),
    ),
    interfaces=(*SPEC.interfaces, interface_spec(mac="02:00:00:00:00:02", address=None, dhcp=False)),
)


def test_ni_4_a_running_guest_gets_a_card_and_disks(host: RealHost, connection: libvirt.virConnect) -> None:
    identifier = connection.lookupByUUIDString(INSTANCE).ID()
    result = ensure(host, MORE)
    assert (result.change, result.facts["restart_needed"]) == ("repaired", False)
    with console() as serial:
        inside(serial, "grep -l 02:00:00:00:00:02 /sys/class/net/*/address", 30)
        inside(serial, "test -e /sys/block/vdd", 30)
    assert running(connection).find("devices/controller[@type='scsi'][@model='virtio-scsi']") is not None
    assert ensure(host, MORE).change == "unchanged"
    assert connection.lookupByUUIDString(INSTANCE).ID() == identifier


def test_a_disk_of_a_running_guest_grows(host: RealHost) -> None:
    bigger = replace(MORE, disks=(*MORE.disks[:2], replace(MORE.disks[2], size_gb=2), *MORE.disks[3:]))
    assert [ensure(host, bigger).change for _ in range(2)] == ["repaired", "unchanged"]
    with console() as serial:
        inside(serial, f"grep -q {2**31 // 512} /sys/block/vdd/size", 20)


def test_ni_6_a_running_guest_lets_go_of_them(host: RealHost, state: Path) -> None:
    assert ensure(host).change == "repaired"
    with console() as serial:
        inside(serial, "! grep -q 02:00:00:00:00:02 /sys/class/net/*/address", 30)
        inside(serial, "! test -e /sys/block/vdd", 30)
    assert sorted(path.name for path in (state / "instances" / INSTANCE).glob("*.qcow2")) == ["vda.qcow2", "vdc.qcow2"]
    domain = host.domain(INSTANCE)
    assert domain is not None and (domain.disks, domain.macs) == (("vda", "vdc"), ("02:00:00:00:00:01",))
    assert ensure(host).change == "unchanged"


def test_it_is_observed(host: RealHost) -> None:
    facts = observe_instance.run(observe_instance.Request(instance=INSTANCE), host, RecordingCall()).facts
    assert (facts["power"], facts["disks"], facts["config_drive"]) == ("on", {"vda": BLOB, "vdc": None}, True)
    assert facts["digest"] == ensure_instance.spec_digest(SPEC)
    assert host.inventory().instances == {INSTANCE: "on"}
    assert host.inventory().unreadable == ()


def test_se_10_the_console_is_logged(state: Path) -> None:
    assert b"GUEST-READY" in (state / "instances" / INSTANCE / "console.log").read_bytes()


def test_se_14_graphics_listen_on_the_mesh_address_and_let_nobody_in(connection: libvirt.virConnect) -> None:
    graphics = running(connection).find("devices/graphics")
    assert graphics is not None
    assert (graphics.get("type"), graphics.get("listen")) == ("spice", MESH_ADDRESS)
    assert str(graphics.get("passwdValidTo")) < "2001"
    with socket.create_connection((MESH_ADDRESS, SPEC.vdi_port), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", SPEC.vdi_port), timeout=5).close()


def test_se_15_a_graphics_password_is_given_for_a_while(host: RealHost, connection: libvirt.virConnect) -> None:
    access = host.open_graphics(INSTANCE, 300)
    assert (access.protocol, access.address, access.port) == ("spice", MESH_ADDRESS, SPEC.vdi_port)
    document = connection.lookupByUUIDString(INSTANCE).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    graphics = ElementTree.fromstring(document).find("devices/graphics")
    assert graphics is not None and graphics.get("passwd") == access.password
    assert str(graphics.get("passwdValidTo")) >= time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 240))


def test_its_screen_is_a_picture(host: RealHost, state: Path) -> None:
    blob = str(uuid.uuid4())
    screens = Graphics(host._config, Layout(state))
    facts = screens.keep_picture(INSTANCE, blob)
    picture = (state / "blobs" / blob).read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) == facts["size"]
    assert screens.keep_picture(INSTANCE, blob) == facts
    opened = screens.open(INSTANCE, 300)
    assert (opened["protocol"], opened["port"], len(opened["password"])) == ("spice", SPEC.vdi_port, 8)
    assert host.remove_blob(blob) == "removed"
    with pytest.raises(Retry):
        screens.keep_picture(str(uuid.uuid4()), blob)


def test_pause_and_resume(host: RealHost) -> None:
    assert (ensure(host, power=Power.PAUSED).change, ensure(host, power=Power.PAUSED).change) == (
        "repaired",
        "unchanged",
    )
    assert host.inventory().instances == {INSTANCE: "paused"}
    assert ensure(host, power=Power.ON).change == "repaired"
    assert heard(host, "paused") and heard(host, "resumed")


def test_a_monitor_that_hangs_is_told_and_frees_its_caller(host: RealHost) -> None:
    impatient = Domains("qemu:///system", call_seconds=1)
    assert impatient.running() == {INSTANCE: "on"}
    os.kill(qemu_pid(), signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(Retry) as caught:
            impatient.suspend(INSTANCE)
        assert caught.value.code == "domain.stuck"
    assert impatient.stuck == {INSTANCE}
    os.kill(qemu_pid(), signal.SIGCONT)
    assert heard(host, "paused")
    end = time.monotonic() + 5
    while impatient.stuck and time.monotonic() < end:
        time.sleep(0.05)
    impatient.resume(INSTANCE)
    impatient.close()
    assert heard(host, "resumed")


def test_the_guest_outlives_the_daemon_and_is_found_again(host: RealHost, libvirtd: Libvirtd) -> None:
    before = qemu_pid()
    libvirtd.kill()
    with pytest.raises(Retry) as caught:
        host.domain(INSTANCE)
    assert caught.value.code == "libvirt.unreachable"
    assert host.inventory().unreadable == ("instances",)
    libvirtd.start()
    assert ensure(host).change == "unchanged"
    assert qemu_pid() == before
    ensure(host, power=Power.PAUSED)
    ensure(host, power=Power.ON)
    assert heard(host, "paused") and heard(host, "resumed")


def test_another_spec_leaves_it_running(host: RealHost) -> None:
    result = ensure(host, replace(SPEC, memory_mb=128))
    assert (result.change, result.facts["restart_needed"]) == ("unchanged", True)


def test_a_blob_under_a_disk_is_not_removed(host: RealHost) -> None:
    with pytest.raises(Refused) as caught:
        remove_blob.run(remove_blob.Request(blob=BLOB), host, RecordingCall())
    assert caught.value.code == "blob.in_use"


@pytest.mark.parametrize(("hard", "boots"), [(True, 2), (False, 3)])
def test_en_8_a_reboot_boots_again_from_the_same_disk(host: RealHost, hard: bool, boots: int) -> None:
    with console() as serial:
        reboot_instance.run(reboot_instance.Request(instance=INSTANCE, hard=hard), host, RecordingCall())
        serial.wait(f"GUEST-ROOTDISK boots={boots} ", BOOT_SECONDS)
        serial.wait("GUEST-READY", BOOT_SECONDS)


def test_power_off_is_a_cut_and_leaves_the_files(host: RealHost) -> None:
    assert (ensure(host, power=Power.OFF).change, ensure(host, power=Power.OFF).change) == ("repaired", "unchanged")
    assert host.domain(INSTANCE) is None
    assert host.inventory().instances == {INSTANCE: "off"}
    assert end_heard(host) == "cut"


@pytest.mark.parametrize("port", ["console_port", "vdi_port"])
def test_a_taken_port_is_named(host: RealHost, port: str) -> None:
    address = domain_xml.LOOPBACK if port == "console_port" else MESH_ADDRESS
    number = getattr(SPEC, port)
    with socket.create_server((address, number)), pytest.raises(Refused, match=str(number)) as caught:
        ensure(host)
    assert caught.value.code == "port.taken"
    assert host.domain(INSTANCE) is None


def test_it_starts_paused_when_that_is_the_wish(host: RealHost) -> None:
    assert ensure(host, power=Power.PAUSED).change == "repaired"
    assert host.inventory().instances == {INSTANCE: "paused"}
    ensure(host, power=Power.ON)


def test_en_13_a_guest_that_shuts_itself_down_is_told_from_one_that_died(host: RealHost) -> None:
    with console() as serial:
        serial.wait("GUEST-READY", BOOT_SECONDS)
        serial.send("/sbin/shutdown\n")
        serial.wait("GUEST-POWEROFF", 20)
    assert end_heard(host) == "guest"
    assert host.domain(INSTANCE) is None


def test_en_13_a_killed_process_is_seen_as_crashed_and_started_again(host: RealHost) -> None:
    ensure(host)
    os.kill(qemu_pid(), signal.SIGKILL)
    assert end_heard(host) == "crashed"
    assert host.domain(INSTANCE) is None
    assert ensure(host).change == "repaired"


def test_the_power_button_reaches_the_guest(host: RealHost, connection: libvirt.virConnect) -> None:
    with console() as serial:
        serial.wait("GUEST-READY", BOOT_SECONDS)
        connection.lookupByUUIDString(INSTANCE).shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        serial.wait("GUEST-POWEROFF", 20)
    assert end_heard(host) == "guest"


def test_se_9_the_cached_image_was_never_written(image: Path, digest: str) -> None:
    assert hashlib.sha512(image.read_bytes()).hexdigest() == digest
    assert image.stat().st_mode & 0o777 == 0o444


def test_a_bridge_that_is_missing_is_waited_for(host: RealHost) -> None:
    with pytest.raises(Retry) as caught:
        ensure(host, replace(SPEC, interfaces=(interface_spec(vni=101),)))
    assert caught.value.code == "network.missing"


def test_a_domain_that_somebody_made_persistent_is_off_and_then_forgotten(
    host: RealHost, connection: libvirt.virConnect
) -> None:
    ensure(host)
    domain = connection.lookupByUUIDString(INSTANCE)
    connection.defineXML(domain.XMLDesc(0))
    domain.destroy()
    assert host.inventory().instances == {INSTANCE: "off"}
    assert host.domain(INSTANCE) is None
    assert ensure(host, power=Power.OFF).change == "unchanged"
    assert host.stop_domain(INSTANCE) == "removed"
    assert connection.listAllDomains() == []


def test_removing_leaves_no_file_and_no_domain(host: RealHost, connection: libvirt.virConnect, state: Path) -> None:
    ensure(host)
    words = [
        remove_instance.run(remove_instance.Request(instance=INSTANCE), host, RecordingCall()).change for _ in range(2)
    ]
    assert words == ["removed", "unchanged"]
    assert list((state / "instances").iterdir()) == []
    assert connection.listAllDomains() == []
    assert host.inventory().instances == {}
    assert NETWORK not in host.inventory().networks
    assert remove_blob.run(remove_blob.Request(blob=BLOB), host, RecordingCall()).change == "removed"

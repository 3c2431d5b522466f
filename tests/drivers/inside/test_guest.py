"""One tiny guest through its whole life on a real hypervisor: the tests run in order and share it."""

import hashlib
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import pytest

from lab.guest_console import GuestConsole
from nodeagent.action import Result
from nodeagent.actions import ensure_instance, observe_instance, reboot_instance, remove_blob, remove_instance
from nodeagent.drivers import domain_xml
from nodeagent.drivers.real_host import RealHost
from nodeagent.host import Refused, Retry
from nodeagent.specs import ConfigDrive, InstanceSpec, Power
from tests.drivers.inside.conftest import MESH_ADDRESS, MTU
from tests.node_specs import BLOB, INSTANCE, NETWORK, RecordingCall, disk_spec, instance_spec, interface_spec

SPEC = instance_spec(
    memory_mb=96,
    machine="q35",
    disks=(disk_spec(), disk_spec(device="vdc", blob=None, size_gb=1)),
    interfaces=(interface_spec(dhcp=False),),
)
BOOT_SECONDS = 90.0


def ensure(host: RealHost, spec: InstanceSpec = SPEC, power: Power = Power.ON) -> Result:
    call = RecordingCall()
    call.drive = ConfigDrive(hostname="guest", ssh_key="ssh-ed25519 AAAA test", user_data="#!/bin/sh\nexit 7\n")
    return ensure_instance.run(ensure_instance.Request(spec=replace(spec, power=power)), host, call)


def causes(host: RealHost, count: int) -> list[str]:
    return [host.events.get(timeout=20).cause for _ in range(count)]


def drain(host: RealHost) -> list[str]:
    """What happened so far, which the test does not wait for."""
    return causes(host, host.events.qsize())


def running(connection: libvirt.virConnect) -> ElementTree.Element:
    return ElementTree.fromstring(connection.lookupByUUIDString(INSTANCE).XMLDesc(0))


def console() -> GuestConsole:
    return GuestConsole((domain_xml.LOOPBACK, SPEC.console_port))


@pytest.fixture(scope="module")
def digest(image: Path) -> str:
    return hashlib.sha512(image.read_bytes()).hexdigest()


def test_a_new_instance_boots(host: RealHost, digest: str) -> None:
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
    assert "started" in drain(host)


def test_a_repeat_is_harmless(host: RealHost, connection: libvirt.virConnect) -> None:
    identifier = connection.lookupByUUIDString(INSTANCE).ID()
    assert [ensure(host).change for _ in range(3)] == ["unchanged"] * 3
    assert connection.lookupByUUIDString(INSTANCE).ID() == identifier


def test_it_is_observed(host: RealHost) -> None:
    facts = observe_instance.run(observe_instance.Request(instance=INSTANCE), host, RecordingCall()).facts
    assert (facts["power"], facts["disks"], facts["config_drive"]) == ("on", {"vda": BLOB, "vdc": None}, True)
    assert facts["digest"] == ensure_instance.spec_digest(SPEC)
    assert host.inventory().instances == {INSTANCE: "on"}
    assert host.inventory().unreadable == ()


def test_se10_the_console_is_logged(state: Path) -> None:
    assert b"GUEST-READY" in (state / "instances" / INSTANCE / "console.log").read_bytes()


def test_se14_graphics_listen_on_the_mesh_address_and_let_nobody_in(connection: libvirt.virConnect) -> None:
    graphics = running(connection).find("devices/graphics")
    assert graphics is not None
    assert (graphics.get("type"), graphics.get("listen")) == ("spice", MESH_ADDRESS)
    assert str(graphics.get("passwdValidTo")) < "2001"
    with socket.create_connection((MESH_ADDRESS, SPEC.vdi_port), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", SPEC.vdi_port), timeout=5).close()


def test_se15_a_graphics_password_is_given_for_a_while(host: RealHost, connection: libvirt.virConnect) -> None:
    access = host.open_graphics(INSTANCE, 300)
    assert (access.protocol, access.address, access.port) == ("spice", MESH_ADDRESS, SPEC.vdi_port)
    document = connection.lookupByUUIDString(INSTANCE).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    graphics = ElementTree.fromstring(document).find("devices/graphics")
    assert graphics is not None and graphics.get("passwd") == access.password
    assert str(graphics.get("passwdValidTo")) >= time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 240))


def test_pause_and_resume(host: RealHost) -> None:
    assert (ensure(host, power=Power.PAUSED).change, ensure(host, power=Power.PAUSED).change) == (
        "repaired",
        "unchanged",
    )
    assert host.inventory().instances == {INSTANCE: "paused"}
    assert ensure(host, power=Power.ON).change == "repaired"
    assert causes(host, 2) == ["paused", "resumed"]


def test_another_spec_leaves_it_running(host: RealHost) -> None:
    result = ensure(host, replace(SPEC, memory_mb=128))
    assert (result.change, result.facts["restart_needed"]) == ("unchanged", True)


def test_a_blob_under_a_disk_is_not_removed(host: RealHost) -> None:
    with pytest.raises(Refused) as caught:
        remove_blob.run(remove_blob.Request(blob=BLOB), host, RecordingCall())
    assert caught.value.code == "blob.in_use"


def test_a_reset_boots_again_from_the_same_disk(host: RealHost) -> None:
    reboot_instance.run(reboot_instance.Request(instance=INSTANCE, hard=True), host, RecordingCall())
    with console() as serial:
        serial.wait("GUEST-ROOTDISK boots=2 ", BOOT_SECONDS)
        serial.wait("GUEST-READY", BOOT_SECONDS)


def test_power_off_is_a_cut_and_leaves_the_files(host: RealHost) -> None:
    assert (ensure(host, power=Power.OFF).change, ensure(host, power=Power.OFF).change) == ("repaired", "unchanged")
    assert host.domain(INSTANCE) is None
    assert host.inventory().instances == {INSTANCE: "off"}
    assert causes(host, 1) == ["cut"]


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


def test_en13_a_guest_that_shuts_itself_down_is_told_from_one_that_died(host: RealHost) -> None:
    with console() as serial:
        serial.wait("GUEST-READY", BOOT_SECONDS)
        drain(host)
        serial.send("/sbin/shutdown\n")
        serial.wait("GUEST-POWEROFF", 20)
    assert causes(host, 1) == ["guest"]
    assert host.domain(INSTANCE) is None


def test_en13_a_killed_process_is_seen_as_crashed_and_started_again(host: RealHost) -> None:
    ensure(host)
    drain(host)
    pid = int(Path(f"/run/libvirt/qemu/{domain_xml.domain_name(INSTANCE)}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert causes(host, 1) == ["crashed"]
    assert host.domain(INSTANCE) is None
    assert ensure(host).change == "repaired"


def test_the_power_button_reaches_the_guest(host: RealHost, connection: libvirt.virConnect) -> None:
    with console() as serial:
        serial.wait("GUEST-READY", BOOT_SECONDS)
        drain(host)
        connection.lookupByUUIDString(INSTANCE).shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        serial.wait("GUEST-POWEROFF", 20)
    assert causes(host, 1) == ["guest"]


def test_se9_the_cached_image_was_never_written(image: Path, digest: str) -> None:
    assert hashlib.sha512(image.read_bytes()).hexdigest() == digest
    assert image.stat().st_mode & 0o777 == 0o444


def test_a_bridge_that_is_missing_is_waited_for(host: RealHost) -> None:
    with pytest.raises(Retry) as caught:
        ensure(host, replace(SPEC, interfaces=(interface_spec(vni=101),)))
    assert caught.value.code == "network.missing"


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

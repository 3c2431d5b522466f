"""The libvirt document of an instance: what is in it, and what must never be (SE-14)."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nodeagent.drivers import domain_xml
from nodeagent.drivers.layout import Layout
from nodeagent.nethelper import names
from nodeagent.specs import InstanceSpec, VideoSpec
from tests.node_specs import BLOB, INSTANCE, disk_spec, instance_spec, interface_spec

AROUND = domain_xml.Surroundings(
    layout=Layout(Path("/state")),
    acceleration="tcg",
    mesh_address="198.18.0.1",
    formats={BLOB: "raw"},
    mtus={names.bridge(100): 1450, names.bridge(101): 8950},
    spice=True,
    vsock=False,
)


def rendered(spec: InstanceSpec | None = None, **around: Any) -> ElementTree.Element:
    return ElementTree.fromstring(domain_xml.render(spec or instance_spec(), "d1", replace(AROUND, **around)))


def found(root: ElementTree.Element, path: str) -> dict[str, str]:
    element = root.find(path)
    assert element is not None, path
    return dict(element.attrib)


def test_identity_size_and_digest() -> None:
    root = rendered(instance_spec(cpus=3, memory_mb=512))
    assert [root.findtext(tag) for tag in ("uuid", "memory", "vcpu")] == [INSTANCE, "512", "3"]
    text = domain_xml.render(instance_spec(), "the digest", AROUND)
    assert domain_xml.digest_in(ElementTree.fromstring(text)) == "the digest"
    assert domain_xml.digest_in(ElementTree.fromstring("<domain><name>stranger</name></domain>")) is None


def test_translation_and_kvm_differ_in_type_and_processor() -> None:
    slow, fast = rendered(), rendered(acceleration="kvm")
    assert (slow.get("type"), slow.findtext("cpu/model")) == ("qemu", "qemu64")
    assert slow.findtext("features/tcg/tb-cache") == "64"
    assert (fast.get("type"), found(fast, "cpu")) == ("kvm", {"mode": "host-passthrough"})
    assert fast.find("features/tcg") is None


def test_se_9_a_disk_names_its_whole_chain() -> None:
    disk = rendered().find("devices/disk")
    assert disk is not None
    assert found(disk, "source") == {"file": f"/state/instances/{INSTANCE}/vda.qcow2"}
    assert found(disk, "backingStore/source") == {"file": f"/state/blobs/{BLOB}"}
    assert found(disk, "backingStore/format") == {"type": "raw"}
    end = disk.find("backingStore/backingStore")
    assert end is not None and not list(end) and not end.attrib
    assert found(disk, "driver")["discard"] == "unmap"


def test_the_config_drive_takes_the_first_free_name() -> None:
    def name(spec: InstanceSpec) -> str:
        readonly = [disk for disk in rendered(spec).iterfind("devices/disk") if disk.find("readonly") is not None]
        assert len(readonly) == 1
        return found(readonly[0], "target")["dev"]

    assert name(instance_spec()) == "vdb"
    assert name(instance_spec(disks=(disk_spec(), disk_spec(device="vdb"), disk_spec(device="vdc")))) == "vdd"
    assert len(rendered(instance_spec(config_drive=False)).findall("devices/disk")) == 1


def test_the_console_listens_on_loopback_and_is_logged() -> None:
    root = rendered()
    assert found(root, "devices/serial/source") == {"mode": "bind", "host": "127.0.0.1", "service": "30001"}
    assert found(root, "devices/serial/protocol") == {"type": "raw"}
    assert found(root, "devices/serial/log")["append"] == "on"


@pytest.mark.parametrize(
    ("spice", "wanted", "given"), [(True, "spice", "spice"), (True, "vnc", "vnc"), (False, "spice", "vnc")]
)
def test_se_14_graphics_listen_on_the_mesh_address_with_a_password_that_is_over(
    spice: bool, wanted: str, given: str
) -> None:
    root = rendered(instance_spec(video=VideoSpec(protocol=wanted)), spice=spice)
    graphics = found(root, "devices/graphics")
    assert (graphics["type"], graphics["port"], graphics["autoport"]) == (given, "30002", "no")
    assert graphics["passwdValidTo"] < "2001"
    assert found(root, "devices/graphics/listen") == {"type": "address", "address": "198.18.0.1"}
    assert graphics["passwd"] != found(rendered(), "devices/graphics")["passwd"]


def test_se_14_nothing_listens_everywhere() -> None:
    for protocol in ("spice", "vnc"):
        text = domain_xml.render(instance_spec(video=VideoSpec(protocol=protocol)), "", AROUND)
        assert "0.0.0.0" not in text and "::" not in text


def test_a_card_has_its_bridge_mac_tap_and_mtu() -> None:
    cards = (interface_spec(), interface_spec(mac="02:00:00:00:00:02", vni=101, model="e1000"))
    root = rendered(instance_spec(interfaces=cards))
    first, second = root.findall("devices/interface")
    assert (found(first, "source")["bridge"], found(first, "mtu")) == (names.bridge(100), {"size": "1450"})
    assert (found(second, "mtu"), found(second, "model")) == ({"size": "8950"}, {"type": "e1000"})
    assert found(second, "target") == {"dev": domain_xml.tap_name("02:00:00:00:00:02")}


def test_a_tap_name_fits_the_kernel_and_tells_cards_apart() -> None:
    taps = {domain_xml.tap_name(f"02:00:00:00:{high:02x}:{low:02x}") for high in range(4) for low in range(256)}
    assert len(taps) == 1024 and max(map(len, taps)) <= 15


def test_agent_and_vsock_only_where_wanted_and_possible() -> None:
    assert found(rendered(), "devices/channel/target") == {"type": "virtio", "name": "org.qemu.guest_agent.0"}
    assert rendered(instance_spec(guest_agent=False)).find("devices/channel") is None
    assert rendered().find("devices/vsock") is None
    assert found(rendered(vsock=True), "devices/vsock/cid") == {"auto": "no", "address": "1000"}


def test_firmware_follows_the_spec() -> None:
    assert found(rendered(), "os/type")["machine"] == "pc"
    assert found(rendered(instance_spec(machine="q35")), "os/type")["machine"] == "q35"
    secure = rendered(instance_spec(uefi=True, secure_boot=True))
    assert (found(secure, "os"), found(secure, "os/type")["machine"]) == ({"firmware": "efi"}, "q35")
    assert found(secure, "features/smm") == {"state": "on"}
    plain = rendered(instance_spec(uefi=True))
    for root, enabled in ((secure, "yes"), (plain, "no")):
        features = {each.get("name"): each.get("enabled") for each in root.iterfind("os/firmware/feature")}
        assert features == {"secure-boot": enabled, "enrolled-keys": enabled}
    assert len(plain.findall("devices/controller[@model='pcie-root-port']")) >= 2 + domain_xml.SPARE_PORTS


def test_a_scsi_disk_brings_its_controller_and_a_cdrom_is_read_only() -> None:
    root = rendered(instance_spec(config_drive=False, disks=(disk_spec(device="sda", bus="scsi", kind="cdrom"),)))
    assert found(root, "devices/controller") == {"type": "scsi", "model": "virtio-scsi"}
    assert root.find("devices/disk/readonly") is not None


def test_hostile_text_stays_text() -> None:
    text = domain_xml.render(instance_spec(machine="pc'/><evil/>"), "</metadata><evil/>", AROUND)
    assert ElementTree.fromstring(text).find(".//evil") is None

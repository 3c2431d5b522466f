"""Every piece of hardware that the API accepts: each is defined and started by the real libvirt, and none is left."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import pytest

from nodeagent.actions import ensure_instance, remove_instance
from nodeagent.drivers import machine
from nodeagent.drivers.graphics import Graphics
from nodeagent.drivers.layout import Layout
from nodeagent.drivers.real_host import RealHost
from nodeagent.fake_host import FakeHost
from nodeagent.host import Refused, Retry
from nodeagent.specs import DiskSpec, InstanceSpec, InterfaceSpec, Power, VideoSpec
from tests.node_specs import (
    BUSES,
    CARD_MODELS,
    DISK_KINDS,
    VIDEO_MODELS,
    VIDEO_PROTOCOLS,
    RecordingCall,
    instance_spec,
    interface_spec,
)

INSTANCE = str(uuid.uuid4())
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def disk(device: str, bus: str, kind: str = "disk") -> DiskSpec:
    return DiskSpec(device=device, bus=bus, kind=kind, size_gb=1)


def spec(**changes: Any) -> InstanceSpec:
    fields = {
        "instance": INSTANCE,
        "memory_mb": 64,
        "power": Power.PAUSED,
        "disks": (disk("vda", "virtio"),),
        "interfaces": (),
        "console_port": 30011,
        "vdi_port": 30012,
    }
    return instance_spec(**{**fields, **changes})


def cards(model: str) -> tuple[InterfaceSpec, ...]:
    return (interface_spec(mac="02:00:00:00:00:11", model=model), interface_spec(mac="02:00:00:00:00:12", model=model))


TABLE: dict[str, dict[str, Any]] = {
    **{
        f"{kind} on {bus}": {"disks": (disk("vda", "virtio"), disk("vdc" if bus == "virtio" else "sdc", bus, kind))}
        for bus in BUSES
        for kind in DISK_KINDS
        if bus != "nvme" and (bus, kind) != ("virtio", "cdrom")
    },
    **{f"boot from {bus}": {"disks": (disk("sda", bus),)} for bus in ("scsi", "sata", "usb")},
    **{f"card {model}": {"interfaces": cards(model)} for model in CARD_MODELS},
    **{f"video {model}": {"video": VideoSpec(model=model)} for model in VIDEO_MODELS},
    **{f"{protocol}": {"video": VideoSpec(protocol=protocol)} for protocol in VIDEO_PROTOCOLS},
    "sixteen disks": {"disks": tuple(disk(f"vd{letter}", "virtio") for letter in "acdefghijklmnopq")},
    "no config drive, no agent": {"config_drive": False, "guest_agent": False},
    "uefi": {"uefi": True, "memory_mb": 128},
    "uefi with a sata disk and a card": {
        "uefi": True,
        "memory_mb": 128,
        "disks": (disk("sda", "sata"),),
        "interfaces": cards("e1000e"),
    },
    "secure boot": {"uefi": True, "secure_boot": True, "memory_mb": 128},
    "bochs on uefi": {"uefi": True, "memory_mb": 128, "video": VideoSpec(model="bochs")},
}


@pytest.fixture(autouse=True)
def none_left(host: RealHost) -> Iterator[None]:
    yield
    remove_instance.run(remove_instance.Request(instance=INSTANCE), host, RecordingCall())


def ensure(host: RealHost, wanted: InstanceSpec) -> str:
    return ensure_instance.run(ensure_instance.Request(spec=wanted), host, RecordingCall()).change


def running() -> ElementTree.Element:
    connection = libvirt.open("qemu:///system")
    try:
        return ElementTree.fromstring(connection.lookupByUUIDString(INSTANCE).XMLDesc(0))
    finally:
        connection.close()


@pytest.mark.parametrize("name", TABLE)
def test_it_starts(host: RealHost, name: str) -> None:
    if TABLE[name].get("uefi") and not machine.has_uefi():
        pytest.fail("the package ovmf is not installed")
    wanted = spec(**TABLE[name])
    assert ensure(host, wanted) == "created"
    assert ensure(host, wanted) == "unchanged"
    domain = host.domain(INSTANCE)
    assert domain is not None
    assert domain.disks == tuple(each.device for each in wanted.disks)
    assert domain.macs == tuple(card.mac for card in wanted.interfaces)


def test_nvme_is_refused_with_the_reason(host: RealHost) -> None:
    with pytest.raises(Refused, match="NVMe"):
        ensure(host, spec(disks=(disk("nvme0n1", "nvme"),)))


def test_secure_boot_is_the_firmwares(host: RealHost) -> None:
    ensure(host, spec(uefi=True, secure_boot=True, memory_mb=128))
    document = running()
    assert document.findtext("os/loader", "").endswith("OVMF_CODE_4M.ms.fd")
    assert document.find("features/smm[@state='on']") is not None


def test_the_firmwares_variables_begin_as_a_blob(host: RealHost, state: Path) -> None:
    content = bytearray(VARIABLES.read_bytes())
    content[-1] ^= 0xFF
    blob = str(uuid.uuid4())
    host._blobs.put(blob, bytes(content), "test")
    wanted = spec(uefi=True, memory_mb=128, nvram=blob)
    ensure(host, wanted)
    own = state / "instances" / INSTANCE / "nvram.fd"
    assert own.read_bytes()[-1:] == bytes(content[-1:])
    host.remove_blob(blob)
    ensure(host, spec(uefi=True, memory_mb=128, nvram=blob, power=Power.OFF))
    assert own.exists()


def test_a_uefi_guest_gets_cards_and_disks_while_it_runs(host: RealHost) -> None:
    ensure(host, spec(uefi=True, memory_mb=128))
    more = tuple(disk(f"vd{letter}", "virtio") for letter in "acdef")
    assert ensure(host, spec(uefi=True, memory_mb=128, disks=more, interfaces=cards("virtio"))) == "repaired"


def test_a_guest_without_a_screen_has_no_picture(host: RealHost, state: Path) -> None:
    ensure(host, spec(video=VideoSpec(model="none")))
    with pytest.raises(Refused) as caught:
        Graphics(host._config, Layout(state)).keep_picture(INSTANCE, str(uuid.uuid4()))
    assert caught.value.code == "screen.none"


def what_happens(host: RealHost | FakeHost, verbs: tuple[str, ...]) -> list[str]:
    """After each verb the power, or the code of what it raised."""
    acts: dict[str, Callable[[], object]] = {
        "start": lambda: host.start_domain(spec(power=Power.ON, config_drive=False), "digest"),
        "suspend": lambda: host.suspend_domain(INSTANCE),
        "resume": lambda: host.resume_domain(INSTANCE),
        "stop": lambda: host.stop_domain(INSTANCE),
        "plug": lambda: host.attach_interface(INSTANCE, cards("virtio")[0]),
    }
    seen = []
    for verb in verbs:
        try:
            acts[verb]()
        except Retry as error:
            seen.append(error.code)
        except Exception:
            seen.append("unknown")
        else:
            seen.append(str(getattr(host.domain(INSTANCE), "power", "off")))
    return seen


@pytest.mark.parametrize(
    "verbs",
    [
        ("suspend", "resume", "plug", "stop", "stop"),
        ("start", "start", "resume", "suspend", "suspend", "resume", "stop", "suspend"),
        ("start", "plug", "plug", "suspend", "stop", "resume", "plug"),
    ],
    ids="-".join,
)
def test_pw_3_the_fake_machine_does_what_libvirt_does(host: RealHost, verbs: tuple[str, ...]) -> None:
    host.create_disk(INSTANCE, disk("vda", "virtio"), RecordingCall())
    assert what_happens(FakeHost(), verbs) == what_happens(host, verbs)

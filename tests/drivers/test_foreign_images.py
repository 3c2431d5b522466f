"""SE-9: images of other formats become qcow2; hostile ones are refused, each with its code, and nothing of them stays."""

import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nodeagent.drivers import command
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.fetch import Policy
from nodeagent.drivers.layout import Layout
from nodeagent.host import Refused
from tests.drivers.images import VMDK_OF_FILES, qcow2, vmdk
from tests.node_specs import BLOB, UPLOAD, RecordingCall, blob_spec

DISK = bytes(range(256)) * 4096
MIB = 2**20


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "state")
    layout.prepare()
    return layout


@pytest.fixture
def store(layout: Layout) -> Blobs:
    return Blobs(layout, Policy)


def made(folder: Path, form: str, *options: str, size: str = "") -> bytes:
    """A real image of the format, with DISK in it or, with `size`, empty."""
    raw, path = folder / "raw", folder / "made"
    raw.write_bytes(DISK)
    verb = (
        ["create", "-f", form, *options, str(path), size]
        if size
        else ["convert", "-O", form, *options, str(raw), str(path)]
    )
    subprocess.run(["qemu-img", verb[0], "-q", *verb[1:]], check=True)
    return path.read_bytes()


def appliance(*members: tuple[str, bytes], link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link:
            entry = tarfile.TarInfo("disk.vmdk")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    return out.getvalue()


def adopted(store: Blobs, layout: Layout, content: bytes, **more: object) -> str:
    layout.upload(UPLOAD).write_bytes(content)
    return store.adopt(UPLOAD, len(content), blob_spec(**more), RecordingCall()).format


@pytest.mark.parametrize(
    ("form", "options", "kept"),
    [
        ("qcow2", (), "qcow2"),
        ("raw", (), "raw"),
        ("vmdk", (), "qcow2"),
        ("vmdk", ("-o", "subformat=streamOptimized"), "qcow2"),
        ("vpc", (), "qcow2"),
        ("vpc", ("-o", "subformat=fixed,force_size=on"), "qcow2"),
        ("vhdx", (), "qcow2"),
    ],
)
def test_the_guest_sees_the_disk_that_was_uploaded(
    store: Blobs, layout: Layout, tmp_path: Path, form: str, options: tuple[str, ...], kept: str
) -> None:
    assert adopted(store, layout, made(tmp_path, form, *options)) == kept
    back = tmp_path / "back"
    subprocess.run(["qemu-img", "convert", "-f", kept, "-O", "raw", str(layout.blob(BLOB)), str(back)], check=True)
    assert back.read_bytes()[: len(DISK)] == DISK
    assert sorted(path.name for path in layout.blobs.iterdir()) == [BLOB, f"{BLOB}.json"]
    assert list(layout.uploads.iterdir()) == []


def test_an_appliance_with_one_disk_becomes_that_disk(store: Blobs, layout: Layout, tmp_path: Path) -> None:
    disk = made(tmp_path, "vmdk", "-o", "subformat=streamOptimized")
    assert adopted(store, layout, appliance(("a.ovf", b"<Envelope/>"), ("a.vmdk", disk))) == "qcow2"
    assert sorted(path.name for path in layout.blobs.iterdir()) == [BLOB, f"{BLOB}.json"]


def test_a_tar_that_is_no_appliance_stays_a_file(store: Blobs, layout: Layout) -> None:
    assert adopted(store, layout, appliance(("a.txt", b"text"))) == "other"


def test_what_is_for_no_disk_stays_as_it_came(store: Blobs, layout: Layout, tmp_path: Path) -> None:
    disk = made(tmp_path, "vmdk")
    assert adopted(store, layout, disk, verbatim=True) == "other"
    assert layout.blob(BLOB).read_bytes() == disk


HOSTILE = {
    "backing file": ("image.backing_file", qcow2(backing=b"/etc/passwd")),
    "100 TB": ("image.too_large", qcow2(size=100 * 2**40)),
    "data file": ("image.data_file", qcow2(features=4)),
    "extents": ("image.external", VMDK_OF_FILES),
    "extents behind a header": ("image.external", vmdk(b'RW 8 FLAT "/etc/passwd" 0', capacity=0)),
    "parent": ("image.backing_file", vmdk(b'parentFileNameHint="/etc/passwd"')),
    "luks": ("image.encrypted", b"LUKS\xba\xbe\x00\x01" + bytes(4096)),
    "qcow2 with luks": ("image.encrypted", qcow2(encryption=2)),
    "a vmdk with nothing behind its header": ("image.not_an_image", vmdk()),
    "an appliance without a disk": ("image.not_an_image", appliance(("a.ovf", b"x"))),
    "an appliance whose disk is a link": ("image.not_an_image", appliance(("a.ovf", b"x"), link="/etc/passwd")),
    "an appliance whose disk is a list": ("image.external", appliance(("a.ovf", b"x"), ("a.vmdk", VMDK_OF_FILES))),
    "an appliance whose disk is a page": ("image.not_an_image", appliance(("a.ovf", b"x"), ("a.vmdk", b"<html>"))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_se_9_a_hostile_image_is_refused_with_its_reason(store: Blobs, layout: Layout, name: str) -> None:
    code, content = HOSTILE[name]
    with pytest.raises(Refused) as caught:
        adopted(store, layout, content)
    assert caught.value.code == code, str(caught.value)
    assert list(layout.blobs.iterdir()) == []


def test_se_9_the_size_that_a_foreign_image_claims_is_judged(store: Blobs, layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        adopted(store, layout, made(tmp_path, "vmdk", size="3G"), max_virtual_gb=2)
    assert caught.value.code == "image.too_large"
    assert list(layout.blobs.iterdir()) == []


def test_se_9_a_program_that_is_alone_has_no_network() -> None:
    links = command.run(["cat", "/proc/net/dev"], timeout=10, alone=True).splitlines()[2:]
    assert [line.split(":")[0].strip() for line in links] == ["lo"]


FAILURES = {
    "image.too_large": (-24, ""),
    "disk.full": (1, "error while writing: No space left on device"),
    "image.not_an_image": (1, "Could not open: invalid"),
}


@pytest.mark.parametrize("code", FAILURES)
def test_se_9_why_a_conversion_failed(
    store: Blobs,
    layout: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    genuine = command.run

    def failing(words: Sequence[str], **more: Any) -> str:
        if "convert" in words:
            raise command.CommandFailed("qemu-img", *FAILURES[code])
        return genuine(words, **more)

    image = made(tmp_path, "vmdk")
    monkeypatch.setattr(command, "run", failing)
    with pytest.raises(Refused) as caught:
        adopted(store, layout, image)
    assert caught.value.code == code
    assert list(layout.blobs.iterdir()) == []


def test_a_program_that_broke_down_says_nothing_about_the_image(
    store: Blobs, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown error ends nothing (EN-9): it is tried again, and the upload is still there."""
    image = made(tmp_path, "vmdk")
    genuine = command.run

    def aborted(words: Sequence[str], **more: Any) -> str:
        if "convert" in words:
            raise command.CommandFailed("qemu-img", -6, "qemu_thread_create: Resource temporarily unavailable")
        return genuine(words, **more)

    monkeypatch.setattr(command, "run", aborted)
    with pytest.raises(command.CommandFailed):
        adopted(store, layout, image)
    assert layout.upload(UPLOAD).read_bytes() == image
    assert list(layout.blobs.iterdir()) == []

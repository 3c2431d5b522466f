"""Overlays on cached blobs, made by qemu-img under limits."""

import json
import subprocess
from pathlib import Path

import pytest

from nodeagent.drivers.disks import GIB, Disks
from nodeagent.drivers.image_header import UnsafeImage
from nodeagent.drivers.layout import Layout
from nodeagent.host import BlobFacts, Refused, Retry
from tests.drivers.images import qcow2
from tests.node_specs import BLOB, INSTANCE, NETWORK, RecordingCall, disk_spec, sha512

BASE = bytes(2**20)
FACTS = BlobFacts(size=len(BASE), sha512=sha512(BASE), format="raw", virtual_size=len(BASE))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.prepare()
    layout.blob(BLOB).write_bytes(BASE)
    layout.blob(BLOB).chmod(0o444)
    return layout


def described(path: Path) -> dict[str, object]:
    output = subprocess.run(["qemu-img", "info", "--output=json", "-f", "qcow2", path], check=True, capture_output=True)
    return dict(json.loads(output.stdout))


@pytest.mark.parametrize(("size_gb", "size"), [(0, len(BASE)), (3, 3 * GIB)])
def test_a_disk_is_an_overlay_with_explicit_formats(layout: Layout, size_gb: int, size: int) -> None:
    disks = Disks(layout)
    disks.create(INSTANCE, disk_spec(size_gb=size_gb), FACTS, RecordingCall())
    seen = described(layout.disk(INSTANCE, "vda"))
    assert (seen["virtual-size"], seen["backing-filename-format"]) == (size, "raw")
    assert seen["backing-filename"] == str(layout.blob(BLOB))
    assert disks.present(INSTANCE) == {"vda": BLOB}
    disks.verify_chain(INSTANCE, disk_spec())
    assert [path.name for path in layout.instance(INSTANCE).iterdir()] == ["vda.qcow2"]


def test_an_empty_disk_lies_on_nothing(layout: Layout) -> None:
    disks = Disks(layout)
    disks.create(INSTANCE, disk_spec(device="vdb", blob=None, size_gb=1), None, RecordingCall())
    assert disks.present(INSTANCE) == {"vdb": None}
    with pytest.raises(Refused) as caught:
        disks.create(INSTANCE, disk_spec(device="vdc", blob=None), None, RecordingCall())
    assert caught.value.code == "instance.unsupported"


def test_without_its_blob_a_disk_waits(layout: Layout) -> None:
    with pytest.raises(Retry) as caught:
        Disks(layout).create(INSTANCE, disk_spec(), None, RecordingCall())
    assert caught.value.code == "blob.missing"


def test_a_blob_that_is_no_image_carries_no_disk(layout: Layout) -> None:
    facts = BlobFacts(size=5, sha512="", format="other", virtual_size=5)
    with pytest.raises(Refused) as caught:
        Disks(layout).create(INSTANCE, disk_spec(), facts, RecordingCall())
    assert caught.value.code == "blob.not_an_image"


def test_se_9_a_disk_that_lies_outside_the_cache_is_never_started(layout: Layout) -> None:
    disks = Disks(layout)
    path = layout.disk(INSTANCE, "vda")
    path.parent.mkdir()
    path.write_bytes(qcow2(backing=b"/etc/shadow"))
    with pytest.raises(UnsafeImage):
        disks.verify_chain(INSTANCE, disk_spec())
    path.write_bytes(qcow2(backing=str(layout.blobs / NETWORK).encode()))
    with pytest.raises(Refused) as caught:
        disks.verify_chain(INSTANCE, disk_spec())
    assert caught.value.code == "disk.conflict"


def test_users_of_a_blob_are_found(layout: Layout) -> None:
    disks = Disks(layout)
    disks.create(INSTANCE, disk_spec(), FACTS, RecordingCall())
    assert (disks.users_of(BLOB), disks.users_of(NETWORK)) == ([INSTANCE], [])


def test_en_15_a_failure_leaves_nothing(layout: Layout) -> None:
    layout.blob(BLOB).unlink()
    with pytest.raises(Exception, match="qemu-img"):
        Disks(layout).create(INSTANCE, disk_spec(), FACTS, RecordingCall())
    assert list(layout.instance(INSTANCE).iterdir()) == []

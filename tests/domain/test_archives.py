"""An instance as one file: what is written is a tar that anybody can read, and what is read is trusted in nothing."""

import io
import json
import tarfile
from typing import Any

import pytest

from sfweb.domain import archives
from sfweb.errors import Conflict, Invalid
from sfweb.models import Blob, SnapshotSet
from tests.api.world import World, make_snapshot

DISK = b"the bytes of a disk " * 100


@pytest.fixture
def snapshot(db) -> SnapshotSet:
    world = World()
    made = make_snapshot(world.instance, world.node)
    made.settings = archives.settings_of([world.instance])[world.instance.pk]
    made.save()
    Blob.objects.filter(versions__snapshot_set=made).update(size=len(DISK))
    return SnapshotSet.objects.get(pk=made.pk)


def whole(snapshot: SnapshotSet) -> bytes:
    length, parts = archives.pieces(snapshot)
    content = b"".join(part if isinstance(part, bytes) else DISK for part in parts)
    assert len(content) == length
    return content


def read(content: bytes) -> tuple[dict[str, Any], list[archives.Member]]:
    return archives.read(lambda at, length: content[at : at + length], len(content))


def test_the_file_is_a_tar_of_settings_and_disks(snapshot: SnapshotSet):
    with tarfile.open(fileobj=io.BytesIO(whole(snapshot))) as tar:
        assert tar.getnames() == ["instance.json", "vda.qcow2"]
        told = json.load(tar.extractfile("instance.json"))
        assert tar.extractfile("vda.qcow2").read() == DISK
    assert (told["format"], told["instance"]["name"], told["instance"]["cpus"]) == (archives.FORMAT, "one", 1)
    assert told["instance"]["disk"][0]["sha512"] == "5a" * 64


def test_what_was_written_is_read_again(snapshot: SnapshotSet):
    content = whole(snapshot)
    settings, members = read(content)
    (member,) = members
    assert content[member.offset : member.offset + member.size] == DISK
    assert (member.device, member.sha512) == ("vda", "5a" * 64)
    assert settings["disk"] == [{"device": "vda", "bus": "virtio", "size": 8}]
    assert settings["network"] == [{"network_uuid": "net", "model": "virtio"}]


def test_a_set_that_lacks_a_disk_is_no_whole_instance(snapshot: SnapshotSet):
    snapshot.settings["disk"].append({"device": "vdc", "bus": "virtio", "size": 1})
    with pytest.raises(Conflict, match="not all disks"):
        archives.pieces(snapshot)


def with_manifest(change: Any) -> bytes:
    """A file of one disk whose list says something else."""
    document = {
        "format": archives.FORMAT,
        "instance": {"name": "n", "disk": [{"device": "vda", "bytes": len(DISK), "sha512": "ab" * 64}]},
    }
    change(document)
    text = json.dumps(document).encode()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in (("instance.json", text), ("vda.qcow2", DISK)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def disk(**changes: Any) -> Any:
    return lambda document: document["instance"]["disk"][0].update(changes)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "ends too early"),
        (b"<html>" + bytes(2000), "no exported instance"),
        (bytes(4096), "no exported instance"),
        (with_manifest(lambda document: document.pop("instance")), "none of an exported instance"),
        (with_manifest(lambda document: document.update(instance=[])), "none of an exported instance"),
        (with_manifest(lambda document: document.update(format="other")), "its format is not"),
        (with_manifest(lambda document: document["instance"].update(disk=[])), "its format is not"),
        (with_manifest(lambda document: document["instance"].update(disk=["vda"])), "a disk is an object"),
        (with_manifest(disk(device="../etc/passwd")), "has no device"),
        (with_manifest(disk(device=7)), "has no device"),
        (with_manifest(disk(device="vdb")), "vdb.qcow2 is not where it should be"),
        (with_manifest(disk(sha512="short")), "has no sha512"),
        (with_manifest(disk(bytes=10**15)), "has not the length"),
        (with_manifest(lambda document: None)[:3000], "has not the length"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_iv_1_a_file_that_lies_is_refused(content: bytes, error: str):
    with pytest.raises(Invalid, match=error):
        read(content)


def test_a_disk_above_eight_gib_has_its_length_in_the_header():
    header = archives._header("vda.qcow2", 20 * 2**30)
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 20 * 2**30

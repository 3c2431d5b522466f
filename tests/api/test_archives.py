"""Exported instances over HTTP, and instances made of them."""

import pytest

from sfweb.domain import archives
from sfweb.models import Artifact, ArtifactVersion, Blob, Disk, Instance, Operation
from tests.api.fake_bytes import FakeBytes
from tests.api.world import World, make_artifact, make_blob

DISK = b"disk" * 500


@pytest.fixture
def exported(world: World, node_bytes: FakeBytes) -> bytes:
    """The file, which is also uploaded as artifact `moved`."""
    blob = world.snapshot.versions.get().blob
    Blob.objects.filter(pk=blob.pk).update(size=len(DISK))
    node_bytes.blobs[str(blob.pk)] = DISK
    world.snapshot.settings = archives.settings_of([world.instance])[world.instance.pk]
    world.snapshot.save()
    answer = world.person("owner").get(f"/snapshots/{world.snapshot.uuid}/export")
    content = answer.getvalue()
    assert (answer.status_code, int(answer["Content-Length"])) == (200, len(content))
    archive = make_blob(world.node, size=len(content), sha512="6b" * 64)
    node_bytes.blobs[str(archive.pk)] = content
    make_artifact(world.owner, "moved", archive)
    return content


def test_an_exported_instance_is_made_again(world: World, exported: bytes):
    answer = world.person("owner").post("/imports", {"artifact": "moved", "name": "again"})
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert (told["name"], told["cpus"], told["memory"], told["state"]) == ("again", 1, 256, "creating")
    disk = Disk.objects.select_related("blob").get(instance=told["uuid"])
    archive = Artifact.objects.get(name="moved").versions.get().blob
    assert (disk.blob.archive_id, disk.blob.size, disk.blob.expected_sha512) == (archive.pk, len(DISK), "5a" * 64)
    assert exported[disk.blob.archive_offset :][: len(DISK)] == DISK
    assert [card["network_uuid"] for card in told["interfaces"]] == [str(world.network.pk)]
    fetch = Operation.objects.get(kind="blob_on_node", object_key__startswith=f"blob:{disk.blob_id}@")
    assert Operation.objects.get(kind="instance_create", object_key=f"instance:{told['uuid']}").dependencies.filter(
        needs=fetch
    )


def test_a_second_import_copies_nothing_again(world: World, exported: bytes):
    for name in ("again", "more"):
        assert world.person("owner").post("/imports", {"artifact": "moved", "name": name}).status_code == 200
    assert Disk.objects.filter(instance__name__in=("again", "more")).values("blob").distinct().count() == 1


def test_networks_are_the_callers_word(world: World, exported: bytes):
    answer = world.person("owner").post("/imports", {"artifact": "moved", "name": "bare", "network": []})
    assert answer.json()["interfaces"] == []
    world.network.name = "elsewhere"
    world.network.save()
    answer = world.person("owner").post("/imports", {"artifact": "moved", "name": "lost"})
    assert (answer.status_code, "network not found: net" in answer.json()["error"]) == (404, True)


def test_iv_1_what_is_no_export_is_refused_and_leaves_nothing(world: World, node_bytes: FakeBytes):
    node_bytes.blobs[str(world.blob.pk)] = bytes(100)
    before = ArtifactVersion.objects.count(), Instance.objects.count()
    answer = world.person("owner").post("/imports", {"artifact": "image"})
    assert (answer.status_code, "archive: " in answer.json()["error"]) == (400, True)
    assert (ArtifactVersion.objects.count(), Instance.objects.count()) == before


def test_settings_that_no_request_may_say_are_refused(world: World, exported: bytes, node_bytes: FakeBytes):
    archive = Artifact.objects.get(name="moved").versions.get().blob
    node_bytes.blobs[str(archive.pk)] = exported.replace(b'"cpus": 1', b'"cpus": 0')
    answer = world.person("owner").post("/imports", {"artifact": "moved"})
    assert (answer.status_code, "cpus" in answer.json()["error"]) == (400, True)


def test_a_disk_that_no_node_gives_out_is_said_before_the_first_byte(
    world: World, exported: bytes, node_bytes: FakeBytes
):
    node_bytes.refuse = 500
    answer = world.person("owner").get(f"/snapshots/{world.snapshot.uuid}/export")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_an_export_needs_every_disk(world: World, exported: bytes):
    world.snapshot.settings["disk"].append({"device": "vdc", "bus": "virtio", "size": 1})
    world.snapshot.save()
    answer = world.person("owner").get(f"/snapshots/{world.snapshot.uuid}/export")
    assert (answer.status_code, answer.json()["code"]) == (409, "snapshot.incomplete")

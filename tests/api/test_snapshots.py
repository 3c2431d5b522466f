"""Snapshots as the public client reads them, and sets as we show them."""

from sfweb.models import Disk, SnapshotSet
from sfweb.models.state import State
from tests.api.world import World, make_instance, make_snapshot


def test_the_answer_promises_where_each_blob_will_be(world: World):
    Disk.objects.create(instance=world.instance, position=1, device="vdc", bus="virtio", kind="disk", size_gb=1)
    owner, path = world.person("owner"), f"/instances/{world.instance.uuid}/snapshot"
    answer = owner.post(path, {"all": True, "device": None, "thin": False})
    assert answer.status_code == 200
    promised = answer.json()
    assert {device: set(entry) for device, entry in promised.items()} == {
        "vda": {"source_url", "artifact_uuid", "blob_uuid"},
        "vdc": {"source_url", "artifact_uuid", "blob_uuid"},
    }
    entries = {row["blob_uuid"]: row for row in owner.get(path).json()}
    entry = entries[promised["vdc"]["blob_uuid"]]
    assert (entry["state"], entry["device"], entry["uuid"]) == ("initial", "vdc", promised["vdc"]["artifact_uuid"])
    assert isinstance(entry["created"], float)


def test_without_a_word_the_first_disk_is_captured(world: World):
    Disk.objects.create(instance=world.instance, position=1, device="vdc", bus="virtio", kind="disk", size_gb=1)
    path = f"/instances/{world.instance.uuid}/snapshot"
    assert list(world.person("owner").post(path, {"all": False, "device": None}).json()) == ["vda"]
    assert list(world.person("owner").post(path, {"device": "vdc"}).json()) == ["vdc"]


def test_ar_14_a_set_is_seen_as_one(world: World):
    told = world.person("owner").get(f"/snapshots/{world.snapshot.uuid}").json()
    assert (told["state"], told["instance_name"], told["reason"]) == ("created", "one", "request")
    assert [(disk["device"], disk["version"]) for disk in told["disks"]] == [("vda", 1)]
    listed = world.person("owner").get("/snapshots", {"instance": "one"}).json()
    assert [row["uuid"] for row in listed] == [str(world.snapshot.uuid)]
    assert world.person("other").get("/snapshots").json() == []


def test_a_revert_names_its_operation_and_the_set_that_keeps_what_was(world: World):
    answer = world.person("owner").post(
        f"/instances/{world.instance.uuid}/revert", {"snapshot": str(world.snapshot.uuid)}
    )
    assert answer.status_code == 202
    assert answer["Location"].endswith(f"/operations/{answer.json()['operation']}")
    kept = SnapshotSet.objects.get(pk=answer.json()["before"])
    assert (kept.state, kept.reason) == ("initial", "revert")


def test_a_revert_is_of_a_set_of_this_instance(world: World):
    other = make_snapshot(make_instance(world.owner, "two", world.node), world.node)
    answer = world.person("owner").post(f"/instances/{world.instance.uuid}/revert", {"snapshot": str(other.uuid)})
    assert (answer.status_code, "is not of instance one" in answer.json()["error"]) == (404, True)
    SnapshotSet.objects.filter(pk=world.snapshot.pk).update(state=State.INITIAL)
    answer = world.person("owner").post(
        f"/instances/{world.instance.uuid}/revert", {"snapshot": str(world.snapshot.uuid)}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "snapshot.not_ready")

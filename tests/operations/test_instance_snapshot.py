"""instance_snapshot: disks of one moment become artifact versions that belong together."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nodeagent.host import Refused
from sftasks.operations import (
    artifact_delete,
    instance_create,
    instance_delete,
    instance_power,
    instance_snapshot,
    snapshot_delete,
)
from sfweb.domain import archives, limits
from sfweb.domain.specs import NewDisk
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Invalid, LimitReached, NotFound, NotReady
from sfweb.models import Artifact, ArtifactVersion, Blob, Disk, Instance, Namespace, SnapshotSet, Step
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance

URL = "https://images.example.org/tiny.qcow2"


@pytest.fixture
def pair(served):
    """A guest with two disks and a CD-ROM."""
    disks = (NewDisk(base=URL, size_gb=2), NewDisk(size_gb=1), NewDisk(base=URL, kind="cdrom", bus="sata"))
    wanted = new_instance("pair", "tenant", "net", disks=disks)
    served.instance = served.ask(instance_create.request, served.caller, wanted).row
    served.settle()
    served.instance.refresh_from_db()
    served.home = next(node for node in served.nodes if node.pk == served.instance.node_id)
    return served


def snapshot(cluster, devices=None, max_versions=None):
    return cluster.ask(instance_snapshot.request, cluster.caller, cluster.instance, devices, max_versions)


def set_of(accepted) -> SnapshotSet:
    return SnapshotSet.objects.get(pk=accepted.row.pk)


def test_ar_14_all_disks_of_one_request_are_one_set(pair):
    accepted = snapshot(pair)
    assert set_of(accepted).state == "initial"
    pair.settle()
    made = set_of(accepted)
    versions = made.versions.order_by("device").select_related("artifact", "blob")
    assert (made.state, made.quiesced) == ("created", True)
    assert [(row.device, row.blob.state, row.artifact.state, row.artifact.kind) for row in versions] == [
        ("vda", "created", "created", "snapshot"),
        ("vdc", "created", "created", "snapshot"),
    ]
    assert versions[0].artifact.source_url == f"sf://instance/{pair.instance.pk}/vda"
    assert [effect for effect in pair.home.host.effects if effect[0] == "snapshot_disks"] == [
        ("snapshot_disks", str(pair.instance.pk))
    ]
    assert pair.findings() == []


def test_ro_4_many_are_asked_for_by_as_many_statements_as_one(pair):
    def ask(number):
        asked = instance_snapshot.Asked(caller=pair.caller, instance=pair.instance, max_versions=9)
        with CaptureQueriesContext(connection) as captured:
            made = pair.run(durable(instance_snapshot.ask), [asked] * number)
            told = sum("INSERT" in query["sql"] and "VALUES" in query["sql"] for query in captured.captured_queries)
        assert (
            len({accepted.row.pk for accepted in made}) == len({accepted.operation.pk for accepted in made}) == number
        )
        pair.settle()
        assert {set_of(accepted).state for accepted in made} == {"created"}
        return told

    ask(1)
    assert ask(1) == ask(5)


def test_se_12_many_that_are_more_than_may_wait_are_refused_together(pair, monkeypatch):
    monkeypatch.setattr(limits, "AT_ONCE", 0)
    Namespace.objects.filter(pk=pair.instance.namespace_id).update(limits={"waiting_operations": 2})
    asked = instance_snapshot.Asked(caller=pair.caller, instance=pair.instance)
    with pytest.raises(LimitReached):
        pair.run(durable(instance_snapshot.ask), [asked] * 3)
    assert not SnapshotSet.objects.exists()
    assert len(pair.run(durable(instance_snapshot.ask), [asked] * 2)) == 2


def test_repeats_are_harmless(pair):
    assert repeats_are_harmless(pair, snapshot).state == "succeeded"


def test_the_next_request_adds_a_version_even_of_the_same_content(pair):
    first, second = snapshot(pair, ["vda"]), snapshot(pair, ["vda"])
    pair.settle()
    versions = ArtifactVersion.objects.filter(device="vda").order_by("index")
    assert [row.snapshot_set_id for row in versions] == [set_of(first).pk, set_of(second).pk]
    assert len({row.artifact_id for row in versions}) == 1


def test_ar_12_the_oldest_beyond_max_versions_goes(pair):
    for _ in range(3):
        snapshot(pair, ["vda"], 2)
        pair.settle()
    versions = ArtifactVersion.objects.filter(device="vda").order_by("index")
    assert [row.index for row in versions] == [2, 3]
    assert SnapshotSet.objects.filter(versions__isnull=True).count() == 1
    assert pair.findings() == []


def test_a_guest_that_is_off_is_captured_too(pair):
    pair.ask(instance_power.request, pair.caller, pair.instance, "poweroff")
    pair.settle()
    accepted = snapshot(pair)
    pair.settle()
    assert set_of(accepted).state == "created"
    assert Instance.objects.get(pk=pair.instance.pk).observed_power == "off"


def test_what_cannot_be_captured_leaves_nothing(pair):
    pair.home.host.fail_next("snapshot_disks", Refused("disk.full", "no room"))
    accepted = snapshot(pair)
    pair.settle()
    made = set_of(accepted)
    assert (made.state, made.error_message) == ("error", "disk.full: no room")
    assert not made.versions.exists()
    assert not Artifact.objects.filter(kind="snapshot").exclude(state="deleted").exists()
    assert pair.findings() == []
    again = snapshot(pair)
    pair.settle()
    assert set_of(again).state == "created"


def test_an_artifact_that_was_deleted_meanwhile_stays_deleted(pair):
    accepted = snapshot(pair)
    version = set_of(accepted).versions.get(device="vda")
    pair.ask(artifact_delete.request, pair.caller, version.artifact)
    pair.settle()
    assert Artifact.objects.get(pk=version.artifact_id).state == "deleted"
    assert Blob.objects.get(pk=version.blob_id).state == "deleted"
    assert pair.findings() == []


def test_an_instance_from_a_snapshot_outlives_the_set(pair):
    accepted = snapshot(pair)
    pair.settle()
    version = set_of(accepted).versions.get(device="vda")
    disks = (NewDisk(base=f"sf://snapshot/{version.artifact_id}"),)
    child = pair.ask(instance_create.request, pair.caller, new_instance("child", "tenant", disks=disks)).row
    pair.settle()
    assert Disk.objects.get(instance=child).blob_id == version.blob_id
    pair.ask(snapshot_delete.request, pair.caller, set_of(accepted))
    pair.settle()
    assert set_of(accepted).state == "deleted"
    assert Blob.objects.get(pk=version.blob_id).state == "created"
    assert pair.findings() == []
    pair.ask(instance_delete.request, pair.caller, child)
    pair.settle()
    assert Blob.objects.get(pk=version.blob_id).state == "deleted"
    assert pair.findings() == []


def test_a_disk_of_an_archive_is_copied_out_of_it_on_the_node_that_needs_it(pair):
    archive = Blob.objects.get(pk=Disk.objects.get(instance=pair.instance, device="vda").blob_id)
    namespace = pair.instance.namespace
    member = archives.Member(device="vda", offset=512, size=2**20, sha512="ab" * 64)
    pair.run(durable(archives.adopt), namespace, archive, [member])
    disks = (NewDisk(base=f"sf://archive/{archive.pk}/vda"),)
    made = pair.ask(instance_create.request, pair.caller, new_instance("moved", "tenant", disks=disks)).row
    pair.settle()
    made.refresh_from_db()
    blob = Disk.objects.get(instance=made).blob
    assert (made.state, blob.state, blob.sha512) == ("created", "created", "ab" * 64)
    step = Step.objects.get(action="ensure_blob", object_uuid=blob.pk)
    source = step.request["request"]["spec"]["source"]
    assert (source["archive"], source["offset"]) == (str(archive.pk), 512)
    assert pair.findings() == []


@pytest.mark.parametrize(
    ("devices", "error"), [(["vdx"], NotFound), (["sdd"], Invalid), (["vda", "vdx"], NotFound)], ids=str
)
def test_a_device_that_cannot_be_captured_is_refused(pair, devices, error):
    with pytest.raises(error):
        snapshot(pair, devices)
    assert not SnapshotSet.objects.exists()


def test_an_instance_that_is_not_ready_or_has_no_disks_is_refused(pair):
    Instance.objects.filter(pk=pair.instance.pk).update(state="creating")
    with pytest.raises(NotReady):
        snapshot(pair)
    Instance.objects.filter(pk=pair.instance.pk).update(state="created")
    Disk.objects.filter(instance=pair.instance).update(kind="cdrom")
    with pytest.raises(Conflict):
        snapshot(pair)

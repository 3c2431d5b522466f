"""snapshot_delete: all disks of a set go together, and none that is in use."""

import pytest

from sftasks.operations import instance_snapshot, snapshot_delete
from sfweb.errors import Conflict, NotFound
from sfweb.models import Artifact, Blob, SnapshotSet
from tests.cluster import repeats_are_harmless


@pytest.fixture
def captured(guest):
    guest.snapshot = guest.ask(instance_snapshot.request, guest.caller, guest.instance, None).row
    guest.settle()
    guest.snapshot.refresh_from_db()
    return guest


def delete(cluster):
    return cluster.ask(snapshot_delete.request, cluster.caller, cluster.snapshot)


def test_ar_14_the_disks_of_a_set_go_together(captured):
    blobs = list(captured.snapshot.versions.values_list("blob_id", flat=True))
    delete(captured)
    captured.settle()
    assert SnapshotSet.objects.get().state == "deleted"
    assert set(Blob.objects.filter(pk__in=blobs).values_list("state", flat=True)) == {"deleted"}
    assert not Artifact.objects.filter(kind="snapshot").exclude(state="deleted").exists()
    assert not [blob for blob in blobs if captured.home.host.blob(str(blob))]
    assert captured.findings() == []
    with pytest.raises(NotFound):
        delete(captured)


def test_repeats_are_harmless(captured):
    assert repeats_are_harmless(captured, delete).state == "succeeded"


def test_one_that_is_still_being_captured_is_left_alone(guest):
    guest.snapshot = guest.ask(instance_snapshot.request, guest.caller, guest.instance, None).row
    with pytest.raises(Conflict):
        delete(guest)

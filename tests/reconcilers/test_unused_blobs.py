"""unused_blobs: what nothing is made of goes, and never what somebody is about to use."""

import pytest

from sftasks.operations import artifact_fetch
from sftasks.reconcilers import unused_blobs
from sfweb.domain.specs import NewArtifact
from sfweb.models import ArtifactVersion, Blob, Disk
from sfweb.models.fields import FromNow

URL = "https://images.example.org/image.qcow2"


@pytest.fixture
def orphaned(make_cluster, caller):
    """A blob whose version has gone without it."""
    cluster = make_cluster()
    cluster.ask(artifact_fetch.request, caller, NewArtifact(url=URL, namespace="tenant"))
    cluster.settle()
    ArtifactVersion.objects.all().delete()
    Blob.objects.update(created_at=FromNow(-7200))
    return cluster


def test_bl_9_an_old_unused_blob_goes_from_every_node(orphaned):
    assert orphaned.run(unused_blobs.run) == {"discarded": 1}
    orphaned.settle()
    assert Blob.objects.get().state == "deleted"
    assert [node.host.inventory().blobs for node in orphaned.nodes] == [{}, {}]
    assert orphaned.run(unused_blobs.run) == {"discarded": 0}


def test_bl_9_a_recent_one_stays(orphaned):
    Blob.objects.update(created_at=FromNow(-60))
    assert orphaned.run(unused_blobs.run) == {"discarded": 0}


def test_bl_9_one_that_is_being_transferred_stays(make_cluster, caller):
    cluster = make_cluster()
    cluster.ask(artifact_fetch.request, caller, NewArtifact(url=URL, namespace="tenant"))
    ArtifactVersion.objects.all().delete()
    Blob.objects.update(created_at=FromNow(-7200))
    assert cluster.run(unused_blobs.run) == {"discarded": 0}


def test_bl_9_one_that_a_disk_lies_on_stays(guest):
    assert Disk.objects.exclude(blob=None).exists()
    ArtifactVersion.objects.all().delete()
    Blob.objects.update(created_at=FromNow(-7200))
    assert guest.run(unused_blobs.run) == {"discarded": 0}
    assert Blob.objects.get().state == "created"

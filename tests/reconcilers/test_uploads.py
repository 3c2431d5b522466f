"""uploads: abandoned ones end, and what is left of ended ones on their node is cleared away (SE-12)."""

import pytest

from sftasks.reconcilers import uploads
from sfweb.errors import Unavailable
from sfweb.models import Blob, Namespace, Node, Upload
from sfweb.models.fields import FromNow
from sfweb.models.state import State


@pytest.fixture
def removed(monkeypatch):
    """The uploads that nodes were told to remove."""
    told = []
    monkeypatch.setattr(uploads, "remove_upload", lambda node, upload: told.append(upload))
    return told


@pytest.fixture
def upload(make_cluster, caller):
    cluster = make_cluster(nodes=1)
    return Upload.objects.create(
        namespace=Namespace.objects.get(name="tenant"), node=cluster.nodes[0].row, size=10, touched_at=FromNow(-100_000)
    )


def test_an_abandoned_upload_goes_with_its_bytes_and_its_row(upload, removed):
    assert uploads.run() == {"expired": 1, "cleared": 1, "forgotten": 0}
    assert removed == [upload.pk]
    Upload.objects.update(cleared_at=FromNow(-100_000))
    assert uploads.run() == {"expired": 0, "cleared": 0, "forgotten": 1}
    assert not Upload.objects.exists()


def test_one_that_somebody_goes_on_with_stays(upload, removed):
    Upload.objects.update(touched_at=FromNow(-60))
    assert uploads.run() == {"expired": 0, "cleared": 0, "forgotten": 0}


def test_one_that_is_to_become_a_blob_stays_until_that_has_ended(upload, removed):
    Upload.objects.update(state=State.DELETED)
    blob = Blob.objects.create(upload=upload)
    assert uploads.run()["cleared"] == 0
    Blob.objects.filter(pk=blob.pk).update(state=State.ERROR)
    assert uploads.run()["cleared"] == 1


def test_a_node_that_does_not_answer_is_asked_again(upload, removed, monkeypatch):
    def silent(node, upload):
        raise Unavailable("no")

    with monkeypatch.context() as broken:
        broken.setattr(uploads, "remove_upload", silent)
        assert uploads.run() == {"expired": 1, "cleared": 0, "forgotten": 0}
    assert uploads.run()["cleared"] == 1


def test_a_deleted_node_is_asked_nothing(upload, removed):
    Node.objects.update(state=State.DELETED)
    assert uploads.run()["cleared"] == 1
    assert removed == []

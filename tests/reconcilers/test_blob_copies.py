"""blob_copies: as many copies as there should be, from one that is whole, whatever became of the others."""

import uuid

import pytest

from sftasks.operations import artifact_delete, artifact_fetch
from sftasks.reconcilers import blob_copies, node_objects
from sfweb.domain import blob_copies as copies
from sfweb.domain.specs import NewArtifact
from sfweb.internal import claims
from sfweb.models import Artifact, Blob, BlobHash, BlobLocation, Event, Node, NodeObject
from sfweb.models.fields import FromNow
from sfweb.models.state import State

URL = "https://images.example.org/image.qcow2"


@pytest.fixture
def stored(make_cluster, caller):
    """Three nodes, one image, and what the reconciler has made of it."""
    cluster = make_cluster(nodes=3)
    cluster.caller = caller
    cluster.ask(artifact_fetch.request, caller, NewArtifact(url=URL, namespace="tenant"))
    cluster.settle()
    assert cluster.run(blob_copies.run) == {"wanted": 2, "short": 1, "begun": 1}
    cluster.settle()
    return cluster


def holders():
    return set(BlobLocation.objects.values_list("node__name", flat=True))


def node(cluster, name):
    return next(each for each in cluster.nodes if each.name == name)


def verify(cluster, name):
    """The node's own check of its copies, told as a fact of its report."""
    where = node(cluster, name)
    told = [
        {"blob": check.blob, "sha512": check.sha512, "reason": check.reason, "check": uuid.uuid4().hex}
        for check in where.host.verify_blobs(1)
    ]
    cluster.run(claims.take_facts, where.row, {"blob_checks": told})
    return told


def test_two_copies_are_enough(stored):
    assert len(holders()) == 2
    assert stored.run(blob_copies.run) == {"wanted": 2, "short": 0, "begun": 0}
    assert BlobHash.objects.filter(algorithm="sha512", status="verified").count() == 2
    assert stored.findings() == []


def test_where_there_is_one_node_one_copy_is_wanted(make_cluster, caller):
    cluster = make_cluster(nodes=1)
    cluster.ask(artifact_fetch.request, caller, NewArtifact(url=URL, namespace="tenant"))
    cluster.settle()
    assert cluster.run(blob_copies.run) == {"wanted": 1, "short": 0, "begun": 0}


def test_what_a_missing_node_held_is_copied_from_one_that_is_left(stored):
    gone = sorted(holders())[0]
    Node.objects.filter(name=gone).update(state=State.MISSING, last_seen=FromNow(-3600))
    assert stored.run(blob_copies.run)["begun"] == 1
    for each in stored.nodes:
        each.host.serve(URL, RuntimeError("nobody asks the web for what a peer has"))
    for _ in range(10):
        stored.forget_time()
        for each in stored.nodes:
            if each.name != gone:
                stored.run(each.work)
                stored.run(each.tell)
    assert len(holders() - {gone}) == 2


def test_bl_4_a_failed_verification_is_written_down_and_the_copy_is_replaced(stored):
    bad, good = sorted(holders())
    blob = Blob.objects.get()
    node(stored, bad).host.rot(str(blob.pk), "unreadable: Input/output error")
    verify(stored, good)
    told = verify(stored, bad)
    row = BlobHash.objects.get(node__name=bad, algorithm="sha512")
    assert (row.status, row.error_message) == ("failed", "unreadable: Input/output error")
    event = Event.objects.get(message="a copy failed its verification")
    assert event.extra == {
        "blob": str(blob.pk),
        "node": bad,
        "algorithm": "sha512",
        "reason": "unreadable: Input/output error",
    }
    assert holders() == {good}
    stored.run(node_objects.run)
    stored.settle()
    row.refresh_from_db()
    assert (row.status, row.error_message, holders()) == ("verified", None, {good, bad})
    assert [check.reason for check in node(stored, bad).host.verify_blobs(1)] == [""]
    stored.run(claims.take_facts, node(stored, bad).row, {"blob_checks": told})
    row.refresh_from_db()
    assert row.status == "verified", "an old result that is told once more counts once"


def test_bl_4_the_only_copy_is_kept_and_said_to_be_broken(stored):
    bad, good = sorted(holders())
    BlobLocation.objects.filter(node__name=good).delete()
    node(stored, bad).host.rot(str(Blob.objects.get().pk), "the content is not what it was when it came")
    verify(stored, bad)
    assert holders() == {bad}
    assert Event.objects.filter(message="the only copy failed its verification").exists()


def test_se_4_a_node_speaks_only_of_its_own_copies_and_in_its_own_words(stored):
    stranger = next(each for each in stored.nodes if each.name not in holders())
    blob = Blob.objects.get()
    lies = [{"blob": str(blob.pk), "sha512": "0" * 128, "reason": "x", "check": "1"}, {"blob": 7}, "text", None]
    stored.run(claims.take_facts, stranger.row, {"blob_checks": lies})
    stored.run(claims.take_facts, stored.nodes[0].row, {"blob_checks": "text"})
    assert not BlobHash.objects.filter(status="failed").exists()
    copies.remember(blob, stranger.pk, {"sha512": "not hexadecimal", "hashes": {"sha1": "short", "md5": "0" * 32}})
    assert not BlobHash.objects.filter(node_id=stranger.pk).exists()


def test_a_copy_that_was_refused_is_not_asked_for_each_minute(stored):
    lone = sorted(holders())[0]
    BlobLocation.objects.exclude(node__name=lone).delete()
    NodeObject.objects.exclude(node__name=lone).filter(object_type="blob").delete()
    for each in stored.nodes:
        each.host.fail_next("blob", OSError("no"), times=20)
    assert stored.run(blob_copies.run)["begun"] == 1
    stored.settle()
    assert stored.run(blob_copies.run)["begun"] == 1, "there is another node"
    stored.settle()
    assert stored.run(blob_copies.run)["begun"] == 0


def test_what_nothing_is_made_of_is_not_copied(stored):
    stored.ask(artifact_delete.request, stored.caller, Artifact.objects.get())
    assert stored.run(blob_copies.run)["short"] == 0
    stored.settle()
    assert holders() == set()
    assert not BlobHash.objects.exists()


def test_a_copy_on_a_cordoned_node_counts_and_is_copied_from(stored):
    first, second = sorted(holders())
    BlobLocation.objects.filter(node__name=second).delete()
    NodeObject.objects.filter(node__name=second, object_type="blob").delete()
    Node.objects.filter(name=first).update(cordoned=True)
    Blob.objects.update(source_url="")
    assert stored.run(blob_copies.run)["begun"] == 1
    stored.settle()
    assert len(holders()) == 2 and first in holders()


def test_what_nobody_has_left_and_nobody_can_fetch_again_waits(stored):
    Blob.objects.update(source_url="")
    Node.objects.filter(name__in=holders()).update(state=State.MISSING, last_seen=FromNow(-3600))
    assert stored.run(blob_copies.run) == {"wanted": 1, "short": 0, "begun": 0}

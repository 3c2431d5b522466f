"""artifact_fetch: a new version, unless the bytes turn out to be the same."""

import pytest

from nodeagent.host import Retry
from sftasks import dispatch, engine
from sftasks.operations import artifact_fetch, instance_create
from sfweb.domain.specs import NewArtifact
from sfweb.errors import Forbidden, Invalid
from sfweb.models import Artifact, ArtifactVersion, Blob, Event, EventObject, Instance, Operation, Step
from sfweb.models.fields import database_now
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance

URL = "https://images.example.org/image.qcow2"


def fetch(cluster, **more):
    return cluster.ask(
        artifact_fetch.request, cluster.caller, NewArtifact(**{"url": URL, "namespace": "tenant", **more})
    )


def test_the_artifact_has_a_version_with_the_bytes(make_bare):
    cluster = make_bare()
    accepted = fetch(cluster)
    cluster.settle()
    artifact = Artifact.objects.get(pk=accepted.row.pk)
    assert (artifact.state, artifact.versions.count()) == ("created", 1)


def test_the_same_bytes_again_are_no_new_version(make_bare):
    cluster = make_bare()
    fetch(cluster)
    cluster.settle()
    fetch(cluster)
    cluster.settle()
    assert ArtifactVersion.objects.count() == 1
    assert Blob.objects.filter(state="created").count() == 1
    assert cluster.findings() == []


def test_ar_12_versions_beyond_the_limit_go_with_their_bytes(make_bare):
    cluster = make_bare()
    for number in range(5):
        for node in cluster.nodes:
            node.host.serve(URL, f"version {number}".encode())
        fetch(cluster)
        cluster.settle()
    assert list(ArtifactVersion.objects.order_by("index").values_list("index", flat=True)) == [3, 4, 5]
    assert sum(len(node.host.inventory().blobs) for node in cluster.nodes) == 3
    assert cluster.findings() == []


def test_who_may_share_and_which_urls_are_refused(make_bare):
    cluster = make_bare()
    with pytest.raises(Forbidden):
        fetch(cluster, shared=True)
    for url in (
        "http://127.0.0.1/x",
        "ftp://example.org/x",
        "http://10.0.0.1/x",
        "http://[::1]/x",
        "file:///etc/passwd",
    ):
        with pytest.raises(Invalid):
            fetch(cluster, url=url)
    assert not Artifact.objects.exists()


def test_repeats_are_harmless(make_bare):
    assert repeats_are_harmless(make_bare(), fetch).state == "succeeded"


def messages(artifact):
    found = EventObject.objects.filter(object_uuid=artifact.pk).values_list("event_uuid", flat=True)
    return list(Event.objects.filter(pk__in=list(found)).order_by("at").values_list("message", flat=True))


def test_fr_4_a_version_that_is_still_the_newest_is_not_fetched_again(make_bare):
    cluster = make_bare()
    artifact = fetch(cluster).row
    cluster.settle()
    again = fetch(cluster)
    cluster.settle()
    assert Operation.objects.get(pk=again.operation.pk).state == "succeeded"
    assert sum(("fetch_blob" in effect) for node in cluster.nodes for effect in node.host.effects) == 1
    assert "the version that is here is the newest" in messages(artifact)


def test_fr_4_a_failed_freshness_check_leaves_the_version_that_is_there(make_bare):
    cluster = make_bare()
    artifact = fetch(cluster).row
    cluster.settle()
    for node in cluster.nodes:
        node.host.serve(URL, Retry("fetch.server", "the server answered 503"))
    again = fetch(cluster)
    cluster.settle()
    artifact.refresh_from_db()
    assert Operation.objects.get(pk=again.operation.pk).state == "failed"
    assert (artifact.state, artifact.versions.get().blob.state) == ("created", "created")
    assert any("the version that is here is used" in message for message in messages(artifact))


def test_fr_2_fr_3_three_retries_each_told_and_then_the_reason(make_bare):
    cluster = make_bare()
    for node in cluster.nodes:
        node.host.serve(URL, Retry("fetch.server", "the server answered 503"))
    made = fetch(cluster)
    cluster.settle()
    step = Step.objects.get(action="ensure_blob")
    assert (step.attempt, step.failures, step.state) == (4, 3, "failed")
    deferrals = Event.objects.filter(message="ensure_blob deferred").order_by("at")
    assert [event.extra["after"] for event in deferrals] == [15, 30, 60]
    artifact = Artifact.objects.get(pk=made.row.pk)
    assert artifact.state == "error"
    assert "the server answered 503" in artifact.error_message
    assert messages(artifact).count("ensure_blob deferred") == 0  # they are the blob's
    assert cluster.findings() == []


def test_fr_2_the_nodes_slot_is_free_while_a_retry_waits(make_bare):
    cluster = make_bare()
    for node in cluster.nodes:
        node.host.serve(URL, Retry("fetch.dns"))
    fetch(cluster)
    for node in cluster.nodes:
        cluster.run(node.work)
        cluster.run(node.tell)
    step = Step.objects.get(action="ensure_blob")
    assert (step.state, step.failures, step.token) == ("planned", 1, None)
    assert 14 < (step.not_before - database_now()).total_seconds() <= 15
    assert "fetch.dns" in step.reason


def test_fr_3_fr_7_an_instance_on_it_ends_in_error_with_the_reason(make_bare):
    cluster = make_bare()
    url = "https://images.example.org/tiny.qcow2"
    for node in cluster.nodes:
        node.host.serve(url, Retry("fetch.connect", "connection refused"))
    made = cluster.ask(instance_create.request, cluster.caller, new_instance())
    cluster.settle()
    instance = Instance.objects.get(pk=made.row.pk)
    assert instance.state == "error"
    assert "connection refused" in instance.error_message
    assert cluster.findings() == []


def test_fr_5_an_outcome_told_twice_uses_one_attempt(make_bare):
    cluster = make_bare()
    for node in cluster.nodes:
        node.copies = 3
        node.host.serve(URL, Retry("fetch.timeout"))
    fetch(cluster)
    for node in cluster.nodes:
        cluster.run(node.work)
        node.restart()
        cluster.run(node.report)
    assert Step.objects.get(action="ensure_blob").failures == 1


def test_fr_6_a_cancelled_fetch_is_not_tried_again(make_bare):
    cluster = make_bare()
    for node in cluster.nodes:
        node.host.serve(URL, Retry("fetch.timeout"))
    fetch(cluster)
    for node in cluster.nodes:
        cluster.run(node.work)
        cluster.run(node.tell)
    operation = Operation.objects.get(kind="blob_on_node")
    cluster.run(engine.cancel, operation.pk, cluster.caller)
    cluster.settle()
    assert Operation.objects.get(pk=operation.pk).state == "cancelled"
    assert Step.objects.get(action="ensure_blob").attempt == 1


def test_fr_1_other_content_is_fetched_once_more_and_then_refused(make_bare):
    cluster = make_bare()
    made = fetch(cluster, sha512="0" * 128)
    cluster.settle()
    assert Step.objects.get(action="ensure_blob").attempt == 2
    assert Artifact.objects.get(pk=made.row.pk).state == "error"


def test_ev_19_a_transfer_tells_every_tenth_of_its_way(make_bare):
    cluster = make_bare()
    fetch(cluster)
    step = Step.objects.get(action="ensure_blob")
    for percent in (4, 9, 12, 14, 35, 35, 99):
        cluster.run(dispatch.note_progress, step.node_id, step.token, percent)
    told = Event.objects.filter(message__startswith="blob_on_node at").order_by("at").values_list("message", flat=True)
    assert list(told) == ["blob_on_node at 12 %", "blob_on_node at 35 %", "blob_on_node at 99 %"]

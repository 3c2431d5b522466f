"""blob_on_node: fetched once, copied to others, taken away when nothing is made of it."""

import uuid

from nodeagent.host import Refused, Retry
from nodeagent.wire import Outcome
from sftasks import attachment, engine
from sftasks.operation import Accepted
from sftasks.operations import artifact_fetch, instance_create
from sftasks.reconcilers import node_objects
from sfweb.domain.specs import NewArtifact
from sfweb.domain.transactions import durable
from sfweb.models import Artifact, Blob, BlobLocation, NodeObject, Operation, Step
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance

URL = "https://images.example.org/image.qcow2"


def fetch(cluster):
    return cluster.ask(artifact_fetch.request, cluster.caller, NewArtifact(url=URL, namespace="tenant"))


def copy(cluster):
    """A copy on the node that has none."""
    blob = Blob.objects.get()
    empty = next(node for node in cluster.nodes if not node.host.inventory().blobs)
    return Accepted(blob, cluster.run(durable(lambda: attachment.bring_blob(blob, empty.pk, cluster.caller))))


def test_the_first_fetch_makes_the_blob(make_bare):
    cluster = make_bare()
    fetch(cluster)
    cluster.settle()
    blob = Blob.objects.get()
    assert (blob.state, blob.format, len(blob.sha512)) == ("created", "qcow2", 128)
    assert BlobLocation.objects.filter(blob=blob).count() == 1
    assert cluster.findings() == []


def test_ar_5_a_failed_first_fetch_puts_artifact_and_blob_into_error_with_the_reason(make_bare):
    cluster = make_bare()
    for node in cluster.nodes:
        node.host.serve(URL, Refused("fetch.not_found", "404 Not Found"))
    fetch(cluster)
    cluster.settle()
    assert Blob.objects.get().error_message == "fetch.not_found: 404 Not Found"
    assert Artifact.objects.get().state == "error"
    assert cluster.findings() == []


def test_a_failed_copy_marks_only_that_copy(make_bare):
    cluster = make_bare()
    fetch(cluster)
    cluster.settle()
    for node in cluster.nodes:
        node.host.fail_next("fetch_blob", Refused("disk.full"))
    copy(cluster)
    cluster.settle()
    assert Blob.objects.get().state == "created"
    assert BlobLocation.objects.count() == 1


def test_fr_8_a_copy_from_another_node_is_tried_again_as_often_as_a_fetch_from_outside(make_bare):
    cluster = make_bare()
    fetch(cluster)
    cluster.settle()
    for node in cluster.nodes:
        for _ in range(3):
            node.host.fail_next("fetch_blob", Retry("fetch.server", "the peer is busy"))
    copied = copy(cluster)
    cluster.settle()
    step = Step.objects.get(operation=copied.operation)
    assert (step.failures, step.attempt, step.state) == (3, 4, "done")
    assert BlobLocation.objects.count() == 2


def test_repeats_are_harmless(make_bare):
    cluster = make_bare()
    fetch(cluster)
    cluster.settle()
    assert repeats_are_harmless(cluster, copy).state == "succeeded"


def test_en_14_a_fetch_that_stopped_because_it_was_asked_to_is_cancelled_not_failed(make_bare):
    cluster = make_bare()
    fetch(cluster)
    operation = Operation.objects.get(kind="blob_on_node")
    cluster.run(engine.cancel, operation.pk, cluster.caller)
    (letter,) = [letter for node in cluster.nodes for letter in node.letters]
    stopped = Outcome(token=letter.token, kind="refused", code="cancelled", message="the control plane asked to stop")
    cluster.run(engine.settle, uuid.UUID(letter.node), stopped)
    assert Operation.objects.get(pk=operation.pk).state == "cancelled"


def test_a_copy_of_what_nobody_has_fails_with_a_reason_and_is_not_asked_for_each_minute(make_bare):
    cluster = make_bare()
    fetch(cluster)
    cluster.settle()
    Blob.objects.update(source_url="")
    BlobLocation.objects.all().delete()
    accepted = copy(cluster)
    cluster.settle(rounds=20)
    assert Operation.objects.get(pk=accepted.operation.pk).state == "failed"
    assert NodeObject.objects.exclude(error=None).count() == 1
    assert cluster.run(node_objects.run) == {"submitted": 0}


def test_an_image_that_could_not_be_fetched_is_fetched_by_the_next_who_wants_it(make_bare):
    """What never came is no version, and the artifact is whole again with the first that comes (AR-5)."""
    cluster = make_bare()
    url = "https://images.example.org/tiny.qcow2"
    for node in cluster.nodes:
        node.host.serve(url, Refused("fetch.not_found"))
    cluster.ask(instance_create.request, cluster.caller, new_instance("one"))
    cluster.settle()
    artifact = Artifact.objects.get()
    assert (artifact.state, artifact.versions.count()) == ("error", 0)
    for node in cluster.nodes:
        node.host.serve(url, b"there it is")
    cluster.ask(instance_create.request, cluster.caller, new_instance("two"))
    cluster.settle()
    artifact.refresh_from_db()
    assert (artifact.state, artifact.error_message, artifact.versions.get().blob.state) == ("created", None, "created")
    assert cluster.findings() == []

"""artifact_publish: an upload or a blob becomes an artifact's version."""

import pytest

from nodeagent.fake_host import FakeHost
from nodeagent.specs import BlobSource
from sftasks.operations import artifact_delete, artifact_publish
from sfweb.domain import artifact_refs
from sfweb.domain.specs import NewUploadedArtifact
from sfweb.errors import Invalid, NotFound
from sfweb.models import Artifact, Blob, Namespace, Trust, Upload
from tests.cluster import repeats_are_harmless
from tests.factories import make_namespace


def publish(cluster, **more):
    if not more:
        upload = Upload.objects.create(
            namespace=Namespace.objects.get(name="tenant"), node_id=cluster.nodes[0].pk, size=1234
        )
        more = {"upload": str(upload.pk)}
    return cluster.ask(
        artifact_publish.request, cluster.caller, NewUploadedArtifact(name="mine", namespace="tenant", **more)
    )


def test_an_upload_becomes_a_version_on_the_node_that_has_it(make_bare):
    cluster = make_bare()
    accepted = publish(cluster)
    cluster.settle()
    artifact = Artifact.objects.get(pk=accepted.row.pk)
    assert (artifact.state, artifact.source_url) == ("created", "sf://upload/tenant/mine")
    assert [len(node.host.inventory().blobs) for node in cluster.nodes] == [1, 0]
    assert Upload.objects.get().state == "deleted"
    assert cluster.findings() == []


def test_a_blob_that_is_there_becomes_a_version_at_once(make_bare):
    cluster = make_bare()
    publish(cluster)
    cluster.settle()
    accepted = publish(cluster, blob=str(Blob.objects.get().pk), source_url="sf://upload/tenant/other")
    cluster.settle()
    assert Artifact.objects.get(pk=accepted.row.pk).state == "created"
    assert Blob.objects.count() == 1


def test_exactly_one_source_and_only_ones_own(make_bare):
    cluster = make_bare()
    with pytest.raises(Invalid):
        publish(cluster, upload="x", blob="y")
    with pytest.raises(NotFound):
        publish(cluster, blob="00000000-0000-4000-8000-000000000000")
    empty = Upload.objects.create(namespace=Namespace.objects.get(name="tenant"), node_id=cluster.nodes[0].pk)
    with pytest.raises(Invalid, match="no content"):
        publish(cluster, upload=str(empty.pk))
    assert not Artifact.objects.exists()


def test_repeats_are_harmless(make_bare):
    assert repeats_are_harmless(make_bare(), publish).state == "succeeded"


def test_ar_9_nobody_puts_his_own_bytes_under_another_namespaces_name(make_bare):
    """Any artifact may be given any source, and a namespace that trusts the victim shows it what it has."""
    cluster = make_bare()
    publish(cluster)
    cluster.settle()
    genuine = Blob.objects.get()
    victim, thief = cluster.caller, make_namespace("thief")
    Trust.objects.create(namespace_id=thief.namespace_uuid, trusted_id=victim.namespace_uuid)
    upload = Upload.objects.create(namespace_id=thief.namespace_uuid, node_id=cluster.nodes[0].pk, size=1)
    wanted = NewUploadedArtifact(
        name="mine", namespace="thief", upload=str(upload.pk), source_url="sf://upload/tenant/mine"
    )
    cluster.ask(artifact_publish.request, thief, wanted)
    cluster.settle()
    found = artifact_refs.resolve(victim, "sf://upload/tenant/mine", Namespace.objects.get(name="tenant"))
    assert found == genuine


def test_en_7_bytes_that_are_going_get_no_new_name(make_bare):
    cluster = make_bare()
    first = publish(cluster)
    cluster.settle()
    cluster.ask(artifact_delete.request, cluster.caller, first.row)
    cluster.settle()
    with pytest.raises(NotFound):
        publish(cluster, blob=str(Blob.objects.get().pk))
    assert Artifact.objects.count() == 1


def uploaded(cluster, name="mine", **more):
    upload = Upload.objects.create(
        namespace=Namespace.objects.get(name="tenant"), node_id=cluster.nodes[0].pk, size=1234
    )
    wanted = NewUploadedArtifact(name=name, namespace="tenant", upload=str(upload.pk), **more)
    return cluster.ask(artifact_publish.request, cluster.caller, wanted)


def test_ar_7_the_same_bytes_again_are_no_new_version(make_bare, monkeypatch):
    cluster = make_bare()
    monkeypatch.setattr(FakeHost, "adopt_upload", same_bytes)
    first = uploaded(cluster)
    cluster.settle()
    assert uploaded(cluster).row.pk == first.row.pk
    cluster.settle()
    assert list(first.row.versions.values_list("index", flat=True)) == [1]
    assert Blob.objects.filter(state="created").count() == 1
    assert cluster.findings() == []


def same_bytes(host, upload, size, spec, call):
    source = BlobSource(url="upload:same")
    return host._store_blob("adopt_upload", spec, host._facts(spec, source, b"same"), call)


def test_a_wrong_checksum_leaves_no_version_and_no_bytes(make_bare):
    cluster = make_bare()
    made = uploaded(cluster, sha512="0" * 128)
    cluster.settle()
    artifact = Artifact.objects.get(pk=made.row.pk)
    assert (artifact.state, artifact.versions.count()) == ("error", 0)
    assert "other content than is known" in artifact.error_message
    assert Blob.objects.get().state == "deleted"
    assert [node.host.inventory().blobs for node in cluster.nodes] == [{}, {}]
    assert cluster.findings() == []


def test_a_version_that_never_came_takes_no_good_ones_place(make_bare):
    cluster = make_bare()
    first = uploaded(cluster, max_versions=1)
    cluster.settle()
    uploaded(cluster, sha512="0" * 128)
    cluster.settle()
    first.row.refresh_from_db()
    assert (first.row.state, first.row.versions.get().blob.state) == ("created", "created")


def test_ar_5_what_failed_can_be_published_again(make_bare):
    cluster = make_bare()
    made = uploaded(cluster, sha512="0" * 128)
    cluster.settle()
    assert uploaded(cluster).row.pk == made.row.pk
    cluster.settle()
    artifact = Artifact.objects.get(pk=made.row.pk)
    assert (artifact.state, artifact.error_message, artifact.versions.count()) == ("created", None, 1)


def test_ar_6_a_url_becomes_a_label_in_one_call(make_bare):
    cluster = make_bare()
    wanted = NewUploadedArtifact(
        name="stable", namespace="tenant", kind="label", url="https://images.example.org/i", max_versions=5
    )
    made = cluster.ask(artifact_publish.request, cluster.caller, wanted)
    cluster.settle()
    label = Artifact.objects.get(pk=made.row.pk)
    assert (label.kind, label.source_url, label.max_versions) == ("label", "sf://label/tenant/stable", 5)
    assert (label.state, label.versions.get().blob.state) == ("created", "created")
    assert cluster.findings() == []

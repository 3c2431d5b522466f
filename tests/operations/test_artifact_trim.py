"""artifact_trim: one version goes, or those beyond the limit; with the last one the artifact."""

import pytest

from sftasks.operations import artifact_delete, artifact_fetch, artifact_trim
from sfweb.domain.specs import NewArtifact
from sfweb.errors import NotFound
from sfweb.models import Artifact, Blob
from tests.cluster import repeats_are_harmless

URL = "https://images.example.org/image.qcow2"


def with_versions(cluster, number=3):
    for count in range(number):
        for node in cluster.nodes:
            node.host.serve(URL, f"version {count}".encode())
        made = cluster.ask(artifact_fetch.request, cluster.caller, NewArtifact(url=URL, namespace="tenant"))
        cluster.settle()
    return made.row


def trim(cluster, artifact, **what):
    made = cluster.run(lambda: artifact_trim.request(cluster.caller, artifact, **what))
    cluster.settle()
    return made


def indexes(artifact):
    return list(artifact.versions.order_by("index").values_list("index", flat=True))


def test_one_version_goes_with_its_bytes(make_bare):
    cluster = make_bare()
    artifact = with_versions(cluster)
    trim(cluster, artifact, index=2)
    assert indexes(artifact) == [1, 3]
    assert Blob.objects.filter(state="created").count() == 2
    assert sum(len(node.host.inventory().blobs) for node in cluster.nodes) == 2
    assert cluster.findings() == []


def test_with_the_last_version_goes_the_artifact(make_bare):
    cluster = make_bare()
    artifact = with_versions(cluster, 1)
    trim(cluster, artifact, index=1)
    assert Artifact.objects.get(pk=artifact.pk).state == "deleted"
    assert [node.host.inventory().blobs for node in cluster.nodes] == [{}, {}]


def test_ar_12_a_smaller_limit_takes_the_oldest_at_once(make_bare):
    cluster = make_bare()
    artifact = with_versions(cluster)
    trim(cluster, artifact, keep=1)
    assert indexes(artifact) == [3]
    assert Artifact.objects.get(pk=artifact.pk).max_versions == 1


def test_what_is_not_there_is_refused(make_bare):
    cluster = make_bare()
    artifact = with_versions(cluster, 1)
    with pytest.raises(NotFound):
        trim(cluster, artifact, index=2)
    cluster.ask(artifact_delete.request, cluster.caller, artifact)
    with pytest.raises(NotFound):
        trim(cluster, artifact, index=1)


def test_repeats_are_harmless(make_bare):
    cluster = make_bare()
    artifact = with_versions(cluster)
    done = repeats_are_harmless(
        cluster, lambda made: made.run(lambda: artifact_trim.request(made.caller, artifact, index=1))
    )
    assert done.state == "succeeded"
    assert indexes(artifact) == [2, 3]

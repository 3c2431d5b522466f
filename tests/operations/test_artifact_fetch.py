"""artifact_fetch: a new version, unless the bytes turn out to be the same."""

import pytest

from sftasks.operations import artifact_fetch
from sfweb.domain.specs import NewArtifact
from sfweb.errors import Forbidden, Invalid
from sfweb.models import Artifact, ArtifactVersion, Blob
from tests.cluster import repeats_are_harmless

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

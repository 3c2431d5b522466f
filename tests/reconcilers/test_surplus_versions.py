"""surplus_versions: what is beyond the limit goes, whoever lowered it (AR-12)."""

from sftasks.operations import artifact_fetch
from sftasks.reconcilers import surplus_versions
from sfweb.domain.specs import NewArtifact
from sfweb.models import Artifact, ArtifactVersion

URL = "https://images.example.org/image.qcow2"


def test_ar_12_versions_beyond_the_limit_are_swept(make_cluster, caller):
    cluster = make_cluster()
    for count in range(3):
        for node in cluster.nodes:
            node.host.serve(URL, f"version {count}".encode())
        cluster.ask(artifact_fetch.request, caller, NewArtifact(url=URL, namespace="tenant"))
        cluster.settle()
    assert cluster.run(surplus_versions.run) == {"trimmed": 0}
    Artifact.objects.update(max_versions=1)
    assert cluster.run(surplus_versions.run) == {"trimmed": 1}
    cluster.settle()
    assert list(ArtifactVersion.objects.values_list("index", flat=True)) == [3]
    assert cluster.run(surplus_versions.run) == {"trimmed": 0}
    assert cluster.findings() == []

"""node_delete: only a node that carries nothing; what is queued for it ends."""

import pytest

from sftasks.operations import artifact_publish, node_delete
from sfweb.domain.specs import NewUploadedArtifact
from sfweb.errors import Conflict
from sfweb.models import Namespace, Node, NodeObject, Upload
from tests.cluster import repeats_are_harmless


def delete(cluster):
    empty = next(node for node in cluster.nodes if not node.host.inventory().networks)
    return cluster.ask(node_delete.request, cluster.caller, empty.row)


def test_the_node_is_deleted_and_holds_nothing(served):
    accepted = delete(served)
    served.settle()
    assert Node.objects.get(pk=accepted.row.pk).state == "deleted"
    assert not NodeObject.objects.filter(node_id=accepted.row.pk).exists()


def test_repeats_are_harmless(served):
    gone = next(node for node in served.nodes if not node.host.inventory().networks)
    accepted = delete(served)
    served.nodes.remove(gone)
    assert repeats_are_harmless(served, lambda _: accepted).state == "succeeded"


def test_a_node_with_the_only_copy_of_an_upload_is_not_deleted(served):
    """Its bytes would be gone with it, while the artifact says that they are there."""
    empty = next(node for node in served.nodes if not node.host.inventory().networks)
    upload = Upload.objects.create(namespace=Namespace.objects.get(name="tenant"), node_id=empty.pk, size=1)
    wanted = NewUploadedArtifact(name="mine", namespace="tenant", upload=str(upload.pk))
    served.ask(artifact_publish.request, served.caller, wanted)
    served.settle()
    with pytest.raises(Conflict) as caught:
        delete(served)
    assert caught.value.details["blobs"] == 1

"""node_delete: only a node that carries nothing; what is queued for it ends."""

from sftasks.operations import node_delete
from sfweb.models import Node, NodeObject
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

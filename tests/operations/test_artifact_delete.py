"""artifact_delete: the name goes at once, the bytes when nothing is made of them."""

from sftasks.operations import artifact_delete, instance_delete
from sfweb.models import Artifact, Blob
from tests.cluster import repeats_are_harmless


def delete(cluster):
    artifact = Artifact.objects.get()
    return cluster.ask(artifact_delete.request, cluster.caller, artifact)


def test_bytes_that_a_disk_is_made_of_stay(guest):
    delete(guest)
    guest.settle()
    assert Artifact.objects.get().state == "deleted"
    assert Blob.objects.get().state == "created"
    assert len(guest.home.host.inventory().blobs) == 1
    assert guest.findings() == []


def test_bytes_that_nothing_is_made_of_leave_every_node(guest):
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    delete(guest)
    guest.settle()
    assert Blob.objects.get().state == "deleted"
    assert all(not node.host.inventory().blobs for node in guest.nodes)
    assert guest.findings() == []


def test_repeats_are_harmless(guest):
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert repeats_are_harmless(guest, delete).state == "succeeded"


def test_bytes_that_only_a_disk_kept_go_with_the_instance(guest):
    guest.ask(artifact_delete.request, guest.caller, Artifact.objects.get())
    guest.settle()
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert all(node.host.inventory().blobs == {} for node in guest.nodes)
    assert Blob.objects.get().state == "deleted"
    assert guest.findings() == []

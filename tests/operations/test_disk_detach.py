"""disk_detach: a data disk goes with its file and its room; the boot disk stays."""

import pytest

from nodeagent.host import Retry
from sftasks import engine
from sftasks.operations import disk_attach, disk_detach, instance_power
from sfweb.domain.specs import NewDisk
from sfweb.errors import Conflict, NotFound
from sfweb.models import Blob, Disk, NodeCapacity, Operation
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step


@pytest.fixture
def make_stocked(make_guest):
    """Makes guests with a second disk, vdc, made of an image."""

    def make():
        made = make_guest()
        wanted = NewDisk(size_gb=5, base="https://images.example.org/second.qcow2")
        made.ask(disk_attach.request, made.caller, made.instance, wanted)
        made.settle()
        return made

    return make


@pytest.fixture
def stocked(make_stocked):
    return make_stocked()


def detach(cluster, device="vdc"):
    return cluster.ask(disk_detach.request, cluster.caller, cluster.instance, device)


def test_file_room_and_row_go_once_the_guest_has_let_go(stocked):
    before = NodeCapacity.objects.get(node_id=stocked.home.pk).used_disk_gb
    detach(stocked)
    assert NodeCapacity.objects.get(node_id=stocked.home.pk).used_disk_gb == before
    stocked.settle()
    assert NodeCapacity.objects.get(node_id=stocked.home.pk).used_disk_gb == before - 5
    assert set(stocked.home.host.disks(str(stocked.instance.pk))) == {"vda"}
    assert stocked.home.host.domain(str(stocked.instance.pk)).disks == ("vda",)
    assert list(Disk.objects.values_list("device", flat=True)) == ["vda"]
    assert stocked.findings() == []


def test_the_image_stays_for_its_artifact(stocked):
    detach(stocked)
    stocked.settle()
    assert set(Blob.objects.values_list("state", flat=True)) == {"created"}


def test_what_cannot_go(stocked):
    with pytest.raises(Conflict, match="boots"):
        detach(stocked, "vda")
    with pytest.raises(NotFound):
        detach(stocked, "vdb")
    stocked.ask(instance_power.request, stocked.caller, stocked.instance, "pause")
    stocked.settle()
    with pytest.raises(Conflict, match="paused"):
        detach(stocked)


def test_asked_twice_it_is_one_operation_and_then_it_is_gone(stocked):
    assert detach(stocked).operation.pk == detach(stocked).operation.pk
    stocked.settle()
    with pytest.raises(NotFound):
        detach(stocked)


def test_a_guest_that_does_not_let_go_keeps_its_disk(stocked):
    stocked.home.host.fail_next("detach_disk", Retry("device.busy"), times=99)
    accepted = detach(stocked)
    stocked.settle(200)
    assert Operation.objects.get(pk=accepted.operation.pk).error_code == "device.busy"
    assert Disk.objects.get(device="vdc").state == "created"
    assert "vdc" in stocked.home.host.disks(str(stocked.instance.pk))
    assert stocked.findings() == []


def test_a_cancel_that_comes_too_late_does_not_bring_an_empty_disk_back(stocked):
    accepted = detach(stocked)
    stocked.run(stocked.home.work)
    stocked.run(engine.cancel, accepted.operation.pk, stocked.caller)
    stocked.settle()
    assert list(Disk.objects.values_list("device", flat=True)) == ["vda"]
    assert set(stocked.home.host.disks(str(stocked.instance.pk))) == {"vda"}
    assert ("create_disk", f"{stocked.instance.pk}/vdc") not in stocked.home.host.effects[-2:]
    assert stocked.findings() == []


def test_repeats_are_harmless(stocked):
    assert repeats_are_harmless(stocked, detach).state == "succeeded"


def test_unwinds_from_every_step(make_stocked):
    assert unwinds_from_every_step(make_stocked, detach) == ["ensure_instance"]


def test_repeated_undo_is_harmless(stocked):
    assert repeated_undo_is_harmless(stocked, detach, "ensure_instance").state == "failed"

"""disk_attach: one more disk, with its room, in a running guest or while it is off."""

import pytest

from nodeagent.host import Refused
from sftasks.operations import disk_attach, instance_power
from sfweb.domain.specs import NewDisk
from sfweb.errors import Conflict, NoCapacity
from sfweb.models import Disk, NodeCapacity, Operation, PlacementReservation
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step


def attach(cluster, **disk):
    wanted = NewDisk(**{"size_gb": 5, **disk})
    return cluster.ask(disk_attach.request, cluster.caller, cluster.instance, wanted)


def room(cluster):
    return NodeCapacity.objects.get(node_id=cluster.home.pk).used_disk_gb


def devices(cluster):
    return cluster.home.host.domain(str(cluster.instance.pk)).disks


@pytest.mark.parametrize(("bus", "device"), [("virtio", "vdc"), ("scsi", "sdc")])
def test_a_running_guest_gets_it_and_its_room_is_counted_at_once(guest, bus, device):
    before = room(guest)
    row = attach(guest, bus=bus).row
    assert room(guest) == before + 5
    guest.settle()
    assert (row.device, Disk.objects.get(pk=row.pk).state) == (device, "created")
    assert devices(guest) == ("vda", device)
    assert (room(guest), PlacementReservation.objects.get().disk_gb) == (before + 5, before + 5)
    assert guest.findings() == []


def test_one_from_an_image_waits_for_the_image(guest):
    attach(guest, base="https://images.example.org/second.qcow2", size_gb=0)
    guest.settle()
    assert devices(guest) == ("vda", "vdc")
    assert len(guest.home.host.inventory().blobs) == 2
    assert guest.findings() == []


@pytest.mark.parametrize("bus", ["sata", "usb", "nvme"])
def test_other_buses_only_while_it_is_off(guest, bus):
    with pytest.raises(Conflict, match="off"):
        attach(guest, bus=bus)
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    guest.settle()
    row = attach(guest, bus=bus).row
    guest.settle()
    assert row.device in guest.home.host.disks(str(guest.instance.pk))


def test_sc_20_what_does_not_fit_is_refused_with_the_figures_and_changes_nothing(guest):
    before = room(guest)
    with pytest.raises(NoCapacity) as caught:
        attach(guest, size_gb=60000)
    assert caught.value.stage == "sufficient_free_disk"
    assert caught.value.details["nodes"][0]["dimensions"]["disk_gb"]["short_by"] > 0
    assert (room(guest), Disk.objects.count(), Operation.objects.filter(kind="disk_attach").count()) == (before, 1, 0)


def test_names_are_not_given_twice(guest):
    assert [attach(guest).row.device for _ in range(2)] == ["vdc", "vdd"]


def test_an_instance_has_at_most_sixteen(guest):
    for _ in range(15):
        attach(guest, size_gb=1)
    with pytest.raises(Conflict, match="at most"):
        attach(guest, size_gb=1)


def test_what_is_refused_gives_its_room_back(guest):
    before = room(guest)
    guest.home.host.fail_next("attach_disk", Refused("device.refused"))
    attach(guest)
    guest.settle()
    assert (room(guest), list(Disk.objects.values_list("device", flat=True))) == (before, ["vda"])
    assert set(guest.home.host.disks(str(guest.instance.pk))) == {"vda"}
    assert guest.findings() == []


def test_an_image_that_cannot_be_fetched_gives_the_room_back(guest):
    before = room(guest)
    for node in guest.nodes:
        node.host.serve("https://images.example.org/none", Refused("fetch.not_found", "404"))
    accepted = attach(guest, base="https://images.example.org/none")
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).error_code == "dependency.failed"
    assert (room(guest), list(Disk.objects.values_list("device", flat=True))) == (before, ["vda"])
    assert guest.findings() == []


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, attach).state == "succeeded"


def test_unwinds_from_every_step(make_guest):
    assert unwinds_from_every_step(make_guest, attach) == ["ensure_instance"]


def test_repeated_undo_is_harmless(guest):
    assert repeated_undo_is_harmless(guest, attach, "ensure_instance").state == "failed"

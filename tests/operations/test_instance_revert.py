"""instance_revert: the disks of a set, in the same instance; what was is kept first, and nothing is lost on the way."""

import pytest

from nodeagent.host import Refused
from sftasks.operations import instance_power, instance_revert, instance_snapshot
from sfweb.errors import Conflict
from sfweb.models import Artifact, Blob, Disk, Instance, Interface, Operation, SnapshotSet
from tests.cluster import repeats_are_harmless, unwinds_from_every_step


@pytest.fixture
def make_captured(make_guest):
    def make():
        made = make_guest()
        made.snapshot = made.ask(instance_snapshot.request, made.caller, made.instance, None).row
        made.settle()
        made.snapshot.refresh_from_db()
        return made

    return make


@pytest.fixture
def captured(make_captured):
    return make_captured()


def revert(cluster):
    return cluster.ask(instance_revert.request, cluster.caller, cluster.instance, cluster.snapshot)


def seen(cluster) -> dict[str, str]:
    return dict(cluster.home.host.disks(str(cluster.instance.pk)))


def test_the_disks_are_those_of_the_set_and_the_rest_is_as_it_was(captured):
    instance, card = captured.instance, Interface.objects.get(instance=captured.instance)
    accepted = revert(captured)
    captured.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"
    blob = captured.snapshot.versions.get().blob_id
    assert seen(captured) == {"vda.1": str(blob)}
    after = Interface.objects.get(instance=instance)
    assert (after.mac, after.address, after.uuid) == (card.mac, card.address, card.uuid)
    instance.refresh_from_db()
    assert (instance.state, instance.power, instance.observed_power) == ("created", "on", "on")
    assert captured.home.host.inventory().instances[str(instance.pk)] == "on"
    assert captured.findings() == []


def test_what_was_is_kept_and_can_be_put_back(captured):
    before = revert(captured).operation.params["snapshot"]
    captured.settle()
    kept = SnapshotSet.objects.get(pk=before)
    assert (kept.state, kept.reason, kept.quiesced) == ("created", "revert", True)
    captured.snapshot = kept
    revert(captured)
    captured.settle()
    assert seen(captured) == {"vda.2": str(kept.versions.get().blob_id)}
    assert captured.findings() == []


def test_repeats_are_harmless(captured):
    assert repeats_are_harmless(captured, revert).state == "succeeded"


def test_unwinds_from_every_step(make_captured):
    assert unwinds_from_every_step(make_captured, revert) == [
        "ensure_instance",
        "snapshot_instance",
        "ensure_instance",
    ]


def test_a_capture_that_is_refused_leaves_the_disks_and_the_power_as_they_were(captured):
    before = seen(captured)
    captured.home.host.fail_next("snapshot_disks", Refused("disk.full"))
    accepted = revert(captured)
    captured.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "failed"
    assert seen(captured) == before
    assert captured.home.host.inventory().instances[str(captured.instance.pk)] == "on"
    assert captured.findings() == []


def test_nothing_is_lost_when_the_new_disks_cannot_be_made(captured):
    captured.home.host.fail_next("create_disk", Refused("disk.full"), times=2)
    accepted = revert(captured)
    captured.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "failed"
    kept = SnapshotSet.objects.get(reason="revert")
    assert kept.state == "created"
    assert Disk.objects.get(instance=captured.instance).revision == 1
    assert "vda" in seen(captured)


def test_a_power_wish_in_between_counts(captured):
    accepted = revert(captured)
    off = captured.ask(instance_power.request, captured.caller, captured.instance, "poweroff")
    captured.settle()
    states = Operation.objects.filter(pk__in=(accepted.operation.pk, off.operation.pk)).values_list("state", flat=True)
    assert set(states) == {"succeeded"}
    assert Instance.objects.get(pk=captured.instance.pk).observed_power == "off"
    assert captured.findings() == []


def test_a_blob_that_the_disks_have_left_goes_when_nothing_needs_it(captured):
    former = Disk.objects.get(instance=captured.instance).blob
    revert(captured)
    captured.settle()
    assert Blob.objects.get(pk=former.pk).state == "created"  # the image's artifact still has it
    Artifact.objects.filter(versions__blob=former).update(state="deleted")
    captured.snapshot = SnapshotSet.objects.get(reason="revert")
    revert(captured)
    captured.settle()
    assert captured.findings() == []


def test_a_set_that_does_not_fit_is_refused(captured):
    Disk.objects.create(instance=captured.instance, position=1, device="vdc", bus="virtio", kind="disk", size_gb=1)
    with pytest.raises(Conflict) as refusal:
        revert(captured)
    assert refusal.value.details == {"instance": ["vda", "vdc"], "snapshot": ["vda"]}
    assert not Operation.objects.filter(kind="instance_revert").exists()


def test_a_set_that_is_not_ready_is_refused(guest):
    guest.snapshot = guest.ask(instance_snapshot.request, guest.caller, guest.instance, None).row
    with pytest.raises(Conflict):
        revert(guest)

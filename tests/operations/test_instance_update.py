"""instance_update: name, size and larger disks; put back when it cannot be had."""

import pytest

from nodeagent.host import Refused
from sftasks.operations import instance_power, instance_update
from sfweb.domain.specs import InstanceChange
from sfweb.errors import Conflict, Invalid, NoCapacity, NotFound
from sfweb.models import Instance, NodeCapacity, Operation
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step


def update(cluster, **change):
    change = change or {"disks": (("vda", 4),)}
    return cluster.ask(instance_update.request, cluster.caller, cluster.instance, InstanceChange(**change))


def used(cluster):
    row = NodeCapacity.objects.get(node_id=cluster.home.pk)
    return row.used_cpus, row.used_memory_mb, row.used_disk_gb


def off(cluster):
    cluster.ask(instance_power.request, cluster.caller, cluster.instance, "poweroff")
    cluster.settle()


def digest(cluster):
    return cluster.home.host.domain(str(cluster.instance.pk)).digest


def test_cpus_and_memory_while_it_is_off_and_their_room(guest):
    before = digest(guest)
    off(guest)
    update(guest, cpus=3, memory_mb=512)
    assert used(guest)[:2] == (3, 512)
    guest.settle()
    assert used(guest)[:2] == (3, 512)
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweron")
    guest.settle()
    assert digest(guest) != before
    assert guest.findings() == []


def test_what_it_gives_up_is_free_once_the_node_has_it(guest):
    off(guest)
    update(guest, memory_mb=128)
    assert used(guest)[1] == 256
    guest.settle()
    assert used(guest)[1] == 128
    assert guest.findings() == []


@pytest.mark.parametrize("verb", ["", "pause"])
def test_cpus_and_memory_do_not_change_while_it_runs(guest, verb):
    if verb:
        guest.ask(instance_power.request, guest.caller, guest.instance, verb)
        guest.settle()
    with pytest.raises(Conflict, match="off"):
        update(guest, cpus=2)
    with pytest.raises(Conflict, match="off"):
        update(guest, memory_mb=512)


def test_a_disk_of_a_running_guest_grows(guest):
    update(guest, disks=(("vda", 4),))
    guest.settle()
    assert guest.home.host.disk_sizes(str(guest.instance.pk)) == {"vda": 4}
    assert used(guest)[2] == 4
    assert guest.findings() == []


@pytest.mark.parametrize("size", [1])
def test_a_disk_does_not_shrink(guest, size):
    update(guest, disks=(("vda", 4),))
    guest.settle()
    for smaller in (size, 4):
        with pytest.raises(Invalid, match="only grow"):
            update(guest, disks=(("vda", smaller),))
    with pytest.raises(NotFound):
        update(guest, disks=(("vdb", 9),))


def test_sc_20_what_does_not_fit_changes_nothing(guest):
    off(guest)
    before = used(guest)
    for change in ({"cpus": 500}, {"memory_mb": 10**7}, {"disks": (("vda", 60000),)}):
        with pytest.raises(NoCapacity) as caught:
            update(guest, **change)
        assert caught.value.details["nodes"]
    assert used(guest) == before
    assert not Operation.objects.filter(kind="instance_update").exists()
    assert (Instance.objects.get().cpus, Instance.objects.get().memory_mb) == (1, 256)


def test_a_new_name_is_the_routers_too(guest):
    update(guest, name="renamed")
    guest.settle()
    routers = [held for node in guest.nodes for held in node.host._store._held["routers"].values()]
    assert [host["name"] for router in routers for host in router["hosts"]] == ["renamed"]
    assert guest.findings() == []


def test_en_1_what_is_refused_puts_the_former_values_back(guest):
    before = used(guest)
    guest.home.host.fail_next("grow_disk", Refused("disk.full"))
    accepted = update(guest, name="renamed", disks=(("vda", 4),))
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).error_code == "disk.full"
    row = Instance.objects.get(pk=guest.instance.pk)
    assert (row.name, row.disks.get().size_gb, used(guest)) == ("guest", 1, before)
    routers = [held for node in guest.nodes for held in node.host._store._held["routers"].values()]
    assert [host["name"] for router in routers for host in router["hosts"]] == ["guest"]
    assert guest.findings() == []


def test_en_1_a_newer_wish_is_not_overwritten_by_the_way_back(guest):
    guest.home.host.fail_next("grow_disk", Refused("disk.full"))
    update(guest, disks=(("vda", 4),))
    update(guest, disks=(("vda", 6),))
    guest.settle()
    assert guest.instance.disks.get().size_gb == 6
    assert used(guest)[2] == 6
    assert guest.findings() == []


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, update).state == "succeeded"


def test_unwinds_from_every_step(make_guest):
    assert unwinds_from_every_step(make_guest, update) == ["ensure_instance"]


def test_repeated_undo_is_harmless(guest):
    assert repeated_undo_is_harmless(guest, update, "ensure_instance").state == "failed"

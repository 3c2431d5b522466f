"""An instance that is on its way, or whose node is gone, beside what else counts it: ceilings, claims, deletes, wishes."""

import pytest
from django.db.models import Sum

from nodeagent.host import Retry
from sftasks import engine
from sftasks.operations import instance_delete
from sftasks.plans import instances
from sftasks.reconcilers import node_objects
from sfweb.domain import claims, limits, node_life
from sfweb.domain.callers import CLUSTER
from sfweb.domain.placement_rules import Room
from sfweb.errors import NoCapacity
from sfweb.models import (
    Instance,
    Interface,
    Namespace,
    NamespaceClaim,
    NodeCapacity,
    NodeObject,
    Operation,
    PlacementReservation,
    Step,
)
from tests.factories import make_namespace
from tests.operations.test_instance_migrate import ended, migrate, migrate_cold, silence, where, work_until_sent

CLAIMED = Room(cpus=1, memory_mb=256, disk_gb=8)


def test_en_14_deleted_before_the_other_node_has_confirmed_it_is_wanted_nowhere(guest, away):
    away.host.fail_next("start_domain", Retry("fake.transient", "not yet"), times=50)
    accepted = migrate_cold(guest)
    work_until_sent(guest, accepted, "ensure_instance")
    for call in (away.work, away.tell):
        guest.run(call)
    assert Step.objects.get(operation=accepted.operation, action="ensure_instance").state == "planned", (
        "tried again later"
    )
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert where(guest) == []
    guest.instance.refresh_from_db()
    assert guest.instance.state == "deleted"
    assert not PlacementReservation.objects.filter(instance=guest.instance, state__in=("claimed", "consumed")).exists()
    assert not NodeObject.objects.filter(object_uuid=guest.instance.pk, wanted="present").exists()
    assert guest.findings() == []


def test_the_former_node_lets_go_last_however_the_operation_ended(guest, away):
    accepted = migrate_cold(guest)
    work_until_sent(guest, accepted, "ensure_instance")
    silence(away)
    guest.run(node_life.mark_missing, lambda: None)
    everyone, guest.nodes = guest.nodes, [guest.home]
    for _ in range(3):
        guest.settle(rounds=6)
        silence(away)
        guest.run(node_objects.run)
    assert ended(accepted).state == "failed"
    assert str(guest.instance.pk) in guest.home.host.inventory().instances, "nobody else has its disks"
    guest.nodes = everyone
    for _ in range(3):
        guest.run(away.report)
        guest.run(node_objects.run)
        guest.settle()
    assert where(guest) == [away.name]
    assert str(guest.instance.pk) not in guest.home.host.inventory().instances
    assert guest.findings() == []


@pytest.mark.parametrize("fails", [False, True])
def test_cl_2_se_12_one_that_moves_counts_once_for_its_namespace(guest, away, fails: bool):
    space = Namespace.objects.get(name="tenant")
    guest.run(claims.make, CLUSTER, space, CLAIMED, 3600)
    before = NamespaceClaim.objects.get()
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "receive_instance")
    assert PlacementReservation.objects.filter(instance=guest.instance).count() == 2
    assert guest.run(claims.recount) == 0
    assert limits._disk_gb(space.pk) == before.used_disk_gb
    if fails:
        guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    guest.settle()
    after = NamespaceClaim.objects.get()
    assert (after.used_cpus, after.used_memory_mb, after.used_disk_gb) == (
        before.used_cpus,
        before.used_memory_mb,
        before.used_disk_gb,
    )
    assert guest.run(claims.recount) == 0
    assert PlacementReservation.objects.filter(instance=guest.instance).count() == 1


def test_cl_3_one_that_moves_is_counted_once_among_what_others_use(guest, away):
    """Else a claim would be refused, or another namespace's create, for room that is free again in a moment."""
    make_namespace("other")
    limits_of = NodeCapacity.objects.aggregate(total=Sum("limit_cpus"))["total"]
    rest = Room(cpus=limits_of - guest.instance.cpus, memory_mb=256, disk_gb=1)
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "receive_instance")
    assert PlacementReservation.objects.filter(instance=guest.instance).count() == 2
    made = guest.run(claims.make, CLUSTER, Namespace.objects.get(name="other"), rest, 3600)
    assert made.limit_cpus == rest.cpus
    with pytest.raises(NoCapacity):
        guest.run(claims.change, CLUSTER, made, rest.plus(Room(cpus=1, memory_mb=0, disk_gb=0)))
    guest.settle()
    assert guest.findings() == []


def test_en_12_a_dead_nodes_instance_keeps_what_is_its_own_until_it_is_rebuilt(guest):
    operation = guest.run(engine.submit, instances.wish("instance_on_node", guest.instance, CLUSTER))
    silence(guest.home)
    guest.run(node_life.mark_missing, lambda: None)
    guest.run(node_life.declare_dead, guest.home.row)
    everyone, guest.nodes = guest.nodes, [node for node in guest.nodes if node is not guest.home]
    guest.settle()
    assert Operation.objects.get(pk=operation.pk).state not in ("waiting", "running")
    row = Instance.objects.get(pk=guest.instance.pk)
    assert (row.state, row.error_message) == ("error", node_life.DEAD)
    card = Interface.objects.get(instance=row)
    assert card.state != "deleted" and card.address and card.mac
    assert PlacementReservation.objects.filter(instance=row, state="consumed").exists()
    guest.nodes = everyone

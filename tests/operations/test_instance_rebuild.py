"""instance_rebuild: what was on a dead node is made again on another; same uuid, addresses and MACs."""

import pytest

from nodeagent.host import Refused
from sftasks import sweep
from sftasks.operations import instance_create, instance_delete, instance_rebuild, instance_snapshot
from sftasks.reconcilers import blob_copies, hard_deletes, node_objects
from sfweb.domain import claims, enrolment, node_life
from sfweb.domain.callers import CLUSTER
from sfweb.domain.placement_rules import Room
from sfweb.errors import Conflict, NoCapacity, NotReady
from sfweb.models import (
    Blob,
    BlobLocation,
    CarrierLease,
    Disk,
    Instance,
    Interface,
    Namespace,
    Node,
    NodeCapacity,
    NodeObject,
    Operation,
    PlacementReservation,
    SnapshotSet,
)
from sfweb.models.fields import FromNow
from tests.cluster import repeats_are_harmless, unwinds_from_every_step
from tests.factories import make_namespace, new_instance

OWN = Room(cpus=4, memory_mb=1024, disk_gb=20)


@pytest.fixture
def make_bereft(make_served):
    """Makes clusters whose node1 was declared dead, with a guest on it that was captured once; `nodes` are the others."""

    def make(captured=True):
        made = make_served()
        made.instance = made.ask(
            instance_create.request, made.caller, new_instance("guest", "tenant", "net", placed_on="node1")
        ).row
        made.settle()
        made.instance.refresh_from_db()
        CarrierLease.objects.update(node=made.nodes[1].pk)
        if captured:
            made.snapshot = made.ask(instance_snapshot.request, made.caller, made.instance, None).row
            made.settle()
            for _ in range(3):
                made.run(blob_copies.run)
                made.settle()
        made.run(made.nodes[0].report, with_inventory=True)
        made.dead = made.nodes.pop(0)
        Node.objects.filter(pk=made.dead.pk).update(last_seen=FromNow(-3600))
        made.run(node_life.mark_missing, lambda: None)
        made.run(node_life.declare_dead, made.dead.row)
        return made

    return make


@pytest.fixture
def bereft(make_bereft):
    return make_bereft()


def rebuild(cluster, blank=False):
    return cluster.ask(instance_rebuild.request, cluster.caller, cluster.instance, None, blank)


def rebuild_blank(cluster):
    return rebuild(cluster, blank=True)


def living(cluster):
    return cluster.nodes[0]


def test_it_is_made_again_from_its_newest_snapshot_with_all_that_is_its_own(bereft):
    card = Interface.objects.get(instance=bereft.instance)
    accepted = rebuild(bereft)
    bereft.settle()
    ended = Operation.objects.get(pk=accepted.operation.pk)
    assert ended.state == "succeeded", ended.error_message
    blob = SnapshotSet.objects.get(pk=bereft.snapshot.pk).versions.get().blob_id
    assert dict(living(bereft).host.disks(str(bereft.instance.pk))) == {"vda.1": str(blob)}
    bereft.instance.refresh_from_db()
    assert (bereft.instance.state, bereft.instance.error_message) == ("created", None)
    assert (bereft.instance.node_id, bereft.instance.observed_power) == (living(bereft).pk, "on")
    after = Interface.objects.get(instance=bereft.instance)
    assert (after.uuid, after.mac, after.address, after.state) == (card.uuid, card.mac, card.address, "created")
    assert living(bereft).host.domain(str(bereft.instance.pk)).macs == (card.mac,)
    assert [row.node_id for row in PlacementReservation.objects.all()] == [living(bereft).pk]
    assert bereft.findings() == []


def test_blank_its_disks_are_as_they_were_first_made(make_bereft):
    cluster = make_bereft(captured=False)
    before = Disk.objects.get(instance=cluster.instance).blob_id
    with pytest.raises(Conflict) as refused:
        rebuild(cluster)
    assert refused.value.code == "snapshot.none"
    accepted = rebuild_blank(cluster)
    cluster.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"
    assert dict(living(cluster).host.disks(str(cluster.instance.pk))) == {"vda": str(before)}
    assert cluster.findings() == []


def test_a_snapshot_that_only_the_dead_node_had_is_none(bereft):
    BlobLocation.objects.filter(blob__in=bereft.snapshot.versions.values("blob")).delete()
    with pytest.raises(Conflict) as refused:
        rebuild(bereft)
    assert refused.value.code == "snapshot.none"
    assert NodeCapacity.objects.get(node=living(bereft).pk).used_cpus == 0


def test_cl_3_it_does_not_take_what_another_namespaces_claim_keeps(bereft):
    make_namespace("other")
    limit = NodeCapacity.objects.get(node=living(bereft).pk).limit_cpus
    whole = Room(cpus=limit, memory_mb=1024, disk_gb=10)
    claim = bereft.run(claims.make, CLUSTER, Namespace.objects.get(name="other"), whole, 3600)
    with pytest.raises(NoCapacity) as caught:
        rebuild(bereft)
    assert caught.value.stage == "namespace_claims"
    assert NodeCapacity.objects.get(node=living(bereft).pk).used_cpus == 0
    bereft.run(claims.delete, CLUSTER, claim)
    rebuild(bereft)
    bereft.settle()
    bereft.instance.refresh_from_db()
    assert bereft.instance.state == "created"


def test_cl_3_what_its_own_namespaces_claim_holds_is_enough_for_it(bereft):
    claim = bereft.run(claims.make, CLUSTER, Namespace.objects.get(name="tenant"), OWN, 3600)
    rebuild(bereft)
    bereft.settle()
    bereft.instance.refresh_from_db()
    assert bereft.instance.state == "created"
    claim.refresh_from_db()
    assert claim.used_cpus == bereft.instance.cpus


def test_repeats_are_harmless(bereft):
    assert repeats_are_harmless(bereft, rebuild).state == "succeeded"


def test_unwinds_from_every_step(make_bereft):
    refused = unwinds_from_every_step(make_bereft, rebuild)
    assert [name for name in refused if name.endswith("_instance")] == ["ensure_instance"]


def test_after_a_failure_it_can_be_rebuilt_again_and_blank_is_what_it_was(bereft):
    before = Disk.objects.filter(instance=bereft.instance).values("blob", "base").get()
    living(bereft).host.fail_next("create_disk", Refused("disk.full"))
    accepted = rebuild(bereft)
    bereft.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "failed"
    bereft.instance.refresh_from_db()
    assert (bereft.instance.state, bereft.instance.error_message) == ("error", node_life.DEAD)
    assert Disk.objects.filter(instance=bereft.instance).values("blob", "base").get() == before
    assert NodeCapacity.objects.get(node=living(bereft).pk).used_cpus == 0
    again = rebuild(bereft)
    bereft.settle()
    assert Operation.objects.get(pk=again.operation.pk).state == "succeeded"
    assert bereft.findings() == []


def test_refused_while_its_node_is_only_missing(guest):
    Node.objects.filter(pk=guest.home.pk).update(last_seen=FromNow(-3600))
    guest.run(node_life.mark_missing, lambda: None)
    with pytest.raises(Conflict) as refused:
        rebuild(guest)
    assert refused.value.code == "node.not_dead"
    assert "is missing" in str(refused.value)


def test_refused_when_it_was_in_error_before_its_node_died(bereft):
    Instance.objects.update(error_message="something else")
    with pytest.raises(NotReady):
        rebuild(bereft)


def test_en_12_a_dead_node_that_returns_takes_its_copies_away_before_anything_else(bereft):
    """What it had of the guest is still there, and its agent is enrolled again under its old name."""
    rebuild(bereft)
    bereft.settle()
    guest, dead = str(bereft.instance.pk), bereft.dead
    assert dead.host.domain(guest) is not None and dead.host.inventory().blobs
    with pytest.raises(Conflict):
        enrolment.enrol("node1")
    node, secret = enrolment.enrol("node1", returned=True).rsplit(":", 2)[1:]
    document = enrolment.exchange(dead.pk, secret)
    dead.identity = type(dead.identity)(**{**document, "control": tuple(document["control"])})
    dead.restart()
    assert node == str(dead.pk)
    bereft.nodes.append(dead)
    bereft.run(dead.report)
    assert Node.objects.get(pk=dead.pk).state == "missing"
    bereft.run(node_objects.run)
    bereft.settle()
    assert (dead.host.domain(guest), dict(dead.host.disks(guest))) == (None, {})
    bereft.run(dead.report)
    assert Node.objects.get(pk=dead.pk).state == "created"
    assert living(bereft).host.domain(guest) is not None
    assert Instance.objects.get(pk=guest).node_id == living(bereft).pk
    for _ in range(3):  # what is left of its networks are strays by then
        bereft.run(dead.report, with_inventory=True)
        bereft.run(node_objects.run)
        bereft.settle()
    assert {str(pk) for pk in BlobLocation.objects.filter(node=dead.pk).values_list("blob_id", flat=True)} == set(
        dead.host.inventory().blobs
    )
    assert bereft.findings() == []


def test_a_dead_node_returns_only_when_what_it_had_is_elsewhere_or_gone(bereft):
    with pytest.raises(Conflict) as refused:
        enrolment.enrol("node1", returned=True)
    assert "guest" in str(refused.value)
    bereft.ask(instance_delete.request, bereft.caller, bereft.instance)
    bereft.settle()
    assert enrolment.enrol("node1", returned=True)
    residues = NodeObject.objects.filter(node=bereft.dead.pk, wanted="absent")
    assert str(bereft.instance.pk) in {str(pk) for pk in residues.values_list("object_uuid", flat=True)}


def test_what_a_dead_node_may_still_have_keeps_nothing_taken(bereft):
    rebuild(bereft)
    bereft.settle()
    bereft.ask(instance_delete.request, bereft.caller, bereft.instance)
    bereft.settle()
    assert NodeCapacity.objects.get(node=living(bereft).pk).used_cpus == 0
    Instance.objects.update(deleted_at=FromNow(-10_000))
    bereft.run(hard_deletes.run)
    assert not Instance.objects.exists()
    assert not NodeObject.objects.filter(object_type="instance").exists()


def test_deleted_while_it_is_made_again_nothing_is_left(bereft):
    accepted = rebuild(bereft)
    bereft.ask(instance_delete.request, bereft.caller, bereft.instance)
    bereft.settle()
    bereft.run(sweep.sweep)
    assert Operation.objects.get(pk=accepted.operation.pk).state == "cancelled"
    assert Instance.objects.get(pk=bereft.instance.pk).state == "deleted"
    assert living(bereft).host.inventory().instances == {}
    assert NodeCapacity.objects.get(node=living(bereft).pk).used_cpus == 0
    assert Blob.objects.filter(state="error").count() == 0
    assert bereft.findings() == []

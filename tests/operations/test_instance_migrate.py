"""instance_migrate: an instance changes its node, and never runs on two. Its addresses, MACs and disks stay its own."""

import pytest

from nodeagent.host import Refused
from sftasks import engine
from sftasks.operations import (
    disk_attach,
    instance_create,
    instance_delete,
    instance_migrate,
    instance_power,
    node_delete,
)
from sftasks.reconcilers import node_objects
from sfweb.domain import node_life
from sfweb.domain.specs import NewDisk
from sfweb.errors import Conflict, NoCapacity, NotFound, NotReady
from sfweb.internal import inventory
from sfweb.models import (
    BlobLocation,
    CarrierLease,
    Interface,
    Node,
    NodeCapacity,
    NodeObject,
    Operation,
    PlacementReservation,
    Step,
)
from sfweb.models.fields import FromNow
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step
from tests.factories import new_instance

LIVE = ["receive_instance", "migrate_instance", "observe_instance", "observe_instance"]


def migrate(cluster, live=None):
    return cluster.ask(instance_migrate.request, cluster.caller, cluster.instance, None, live)


def migrate_cold(cluster):
    return migrate(cluster, live=False)


@pytest.fixture
def make_off(make_guest):
    def make():
        made = make_guest()
        made.ask(instance_power.request, made.caller, made.instance, "poweroff")
        made.settle()
        made.instance.refresh_from_db()
        return made

    return make


def where(cluster) -> list[str]:
    """The nodes on which the guest runs."""
    guest = str(cluster.instance.pk)
    return [node.name for node in cluster.nodes if node.host.domain(guest) is not None]


def ended(accepted) -> Operation:
    return Operation.objects.get(pk=accepted.operation.pk)


def test_en_8_a_running_guest_moves_and_keeps_what_is_its_own(guest, away):
    card = Interface.objects.get(instance=guest.instance)
    starts = guest.effects()[guest.home.name, "start_domain", str(guest.instance.pk)]
    accepted = migrate(guest)
    guest.settle()
    assert ended(accepted).state == "succeeded", ended(accepted).error_message
    assert where(guest) == [away.name]
    guest.instance.refresh_from_db()
    assert (guest.instance.node_id, guest.instance.state, guest.instance.observed_power) == (away.pk, "created", "on")
    after = Interface.objects.get(instance=guest.instance)
    assert (after.mac, after.address) == (card.mac, card.address)
    assert sum(count for (_, verb, _), count in guest.effects().items() if verb == "start_domain") == starts
    assert str(guest.instance.pk) not in guest.home.host.inventory().instances
    reservation = PlacementReservation.objects.get(instance=guest.instance)
    assert (reservation.node_id, reservation.state) == (away.pk, "consumed")
    assert NodeCapacity.objects.get(node=guest.home.pk).used_cpus == 0
    assert guest.findings() == []


def test_what_waits_for_a_restart_goes_on_waiting_for_it_and_no_restart_is_made_up(guest, away):
    migrate(guest)
    guest.settle()
    step = Step.objects.get(operation__kind="instance_migrate", action="ensure_instance")
    assert (step.outcome["change"], step.outcome["result"]["restart_needed"]) == ("unchanged", False)


def test_there_and_back_again(guest):
    for _ in range(2):
        migrate(guest)
        guest.settle()
    assert where(guest) == [guest.home.name]
    assert guest.findings() == []


def test_an_instance_that_is_off_is_copied_and_stays_off(make_off):
    cluster = make_off()
    accepted = migrate(cluster)
    cluster.settle()
    assert (ended(accepted).state, accepted.operation.params["how"]) == ("succeeded", "cold")
    assert where(cluster) == []
    cluster.instance.refresh_from_db()
    assert cluster.instance.node_id != cluster.home.pk
    cluster.ask(instance_power.request, cluster.caller, cluster.instance, "poweron")
    cluster.settle()
    assert where(cluster) == [cluster.instance.node.name]
    assert cluster.findings() == []


def test_a_guest_that_runs_can_be_moved_cold_and_is_on_again_there(guest, away):
    accepted = migrate_cold(guest)
    guest.settle()
    assert ended(accepted).state == "succeeded", ended(accepted).error_message
    for node in guest.nodes:
        guest.run(node.report, with_inventory=True)
    guest.settle()
    guest.instance.refresh_from_db()
    assert (guest.instance.power, guest.instance.node_id) == ("on", away.pk)
    assert where(guest) == [away.name]
    assert guest.findings() == []


def test_a_guest_that_does_not_shut_down_stays_where_it_is(guest, monkeypatch, settings):
    settings.SHUT_DOWN_SECONDS = 0
    guest.home.host.stubborn.add(str(guest.instance.pk))
    accepted = migrate_cold(guest)
    guest.settle()
    assert (ended(accepted).state, ended(accepted).error_code) == ("failed", "guest.stays")
    assert where(guest) == [guest.home.name]
    assert guest.findings() == []


@pytest.mark.parametrize("way", [migrate, migrate_cold])
def test_repeats_are_harmless(guest, way):
    assert repeats_are_harmless(guest, way).state == "succeeded"
    assert len(where(guest)) == 1


def test_repeats_of_a_move_that_is_off_are_harmless(make_off):
    assert repeats_are_harmless(make_off(), migrate).state == "succeeded"


@pytest.mark.parametrize("power", ["on", "off"])
def test_unwinds_from_every_step(make_served, power):
    """A guest that is cold on its way goes back until the other node has confirmed it."""

    def make():
        made = make_served()
        wanted = new_instance("guest", "tenant", "net", placed_on="node1")
        made.instance = made.ask(instance_create.request, made.caller, wanted).row
        made.settle()
        if power == "off":
            made.ask(instance_power.request, made.caller, made.instance, "poweroff")
            made.settle()
        made.instance.refresh_from_db()
        return made

    first = "shut_down_instance" if power == "on" else "ensure_instance"
    refused = [name for name in unwinds_from_every_step(make, migrate_cold) if name.endswith("_instance")]
    assert refused == [first, "receive_instance", "ensure_instance", "remove_instance"]


@pytest.mark.parametrize("action", ["receive_instance", "ensure_instance"])
def test_repeated_undo_is_harmless(make_off, action):
    cluster = make_off()
    assert repeated_undo_is_harmless(cluster, migrate, action).state == "failed"
    assert cluster.findings() == []


def test_en_8_what_the_source_says_decides_nothing(guest, away):
    """It says that it was refused, and the guest is there all the same: the rows follow the guest."""
    genuine = guest.home.performer._run

    def lying(message, action):
        outcome = genuine(message, action)
        return (
            outcome
            if message.action != "migrate_instance"
            else type(outcome)(token=message.token, kind="refused", code="migration.failed", message="by the test")
        )

    guest.home.performer._run = lying
    accepted = migrate(guest)
    guest.settle()
    assert ended(accepted).state == "succeeded"
    assert where(guest) == [away.name]
    assert guest.findings() == []


@pytest.mark.parametrize("error", [Refused("migration.failed", "no way"), RuntimeError("libvirt")])
def test_a_move_that_fails_leaves_the_guest_running_where_it_is(guest, away, error):
    guest.home.host.fail_next("migrate_domain", error)
    accepted = migrate(guest)
    guest.settle()
    assert ended(accepted).state == "failed"
    assert "no way" in ended(accepted).error_message or "libvirt" in ended(accepted).error_message
    assert where(guest) == [guest.home.name]
    assert str(guest.instance.pk) not in away.host.inventory().instances
    guest.instance.refresh_from_db()
    assert (guest.instance.state, guest.instance.node_id) == ("created", guest.home.pk)
    assert NodeCapacity.objects.get(node=away.pk).used_cpus == 0
    assert guest.findings() == []


@pytest.mark.parametrize("moved", [True, False])
def test_en_8_an_agent_that_dies_in_the_midst_is_looked_into(guest, away, moved):
    from nodeagent.fake_host import Crash

    (guest.home.host.crash_after if moved else guest.home.host.crash_before)("migrate_domain")
    accepted = migrate(guest)
    with pytest.raises(Crash):
        guest.settle()
    guest.home.restart()
    guest.settle()
    assert ended(accepted).state == ("succeeded" if moved else "failed")
    assert where(guest) == [away.name if moved else guest.home.name]
    assert guest.findings() == []


def silence(node, seconds=3600):
    Node.objects.filter(pk=node.pk).update(last_seen=FromNow(-seconds))


@pytest.mark.parametrize("moved", [True, False])
def test_en_8_en_12_while_the_source_is_missing_nobody_guesses_where_the_guest_is(guest, away, moved):
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "migrate_instance")
    if moved:
        guest.run(guest.home.work)
    silence(guest.home)
    guest.run(node_life.mark_missing, lambda: None)
    lost = guest.nodes
    guest.nodes = [away]
    for _ in range(3):
        guest.settle(rounds=5)
        silence(guest.home)
        guest.run(node_objects.run)
    assert ended(accepted).state == "running"
    assert where_all(lost, guest) == [away.name if moved else guest.home.name]
    guest.nodes = lost
    guest.settle()
    assert ended(accepted).state == "succeeded"
    assert where(guest) == [away.name]
    assert guest.findings() == []


def where_all(nodes, cluster):
    return [node.name for node in nodes if node.host.domain(str(cluster.instance.pk)) is not None]


def work_until_sent(cluster, accepted, action):
    for _ in range(20):
        for node in cluster.nodes:
            for call in (node.work, node.tell):
                if Step.objects.filter(operation=accepted.operation, action=action, state="sent").exists():
                    return
                cluster.run(call)
    raise AssertionError(f"{action} was never sent")


def test_a_source_that_is_gone_after_the_switch_is_a_residue_and_keeps_its_room(guest, away):
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "remove_instance")
    silence(guest.home)
    guest.run(node_life.mark_missing, lambda: None)
    everyone = guest.nodes
    guest.nodes = [away]
    guest.settle()
    assert ended(accepted).state == "succeeded"
    assert NodeCapacity.objects.get(node=guest.home.pk).used_cpus == 1
    guest.instance.refresh_from_db()
    with pytest.raises(NoCapacity):
        migrate(guest)
    guest.nodes = everyone
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.settle()
    assert NodeCapacity.objects.get(node=guest.home.pk).used_cpus == 0
    assert str(guest.instance.pk) not in guest.home.host.inventory().instances
    guest.run(guest.home.report)
    assert guest.findings() == []


def test_cancelled_before_the_guest_leaves_nothing_has_happened(guest):
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "receive_instance")
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    guest.settle()
    assert ended(accepted).state == "cancelled"
    assert where(guest) == [guest.home.name]
    assert guest.findings() == []


def test_cancelled_while_the_guest_leaves_it_is_where_it_is(guest, away):
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "migrate_instance")
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    guest.settle()
    assert ended(accepted).state == "succeeded"
    assert where(guest) == [away.name]
    assert guest.findings() == []


@pytest.mark.parametrize("action", ["receive_instance", "migrate_instance", "ensure_instance", "remove_instance"])
def test_en_14_deleted_on_its_way_nothing_of_it_is_left_anywhere(guest, action):
    accepted = migrate(guest)
    work_until_sent(guest, accepted, action)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert where(guest) == []
    guest.instance.refresh_from_db()
    assert guest.instance.state == "deleted"
    assert not PlacementReservation.objects.filter(instance=guest.instance, state__in=("claimed", "consumed")).exists()
    assert guest.findings() == []


def test_a_power_wish_on_the_way_counts_after_it(guest, away):
    migrate(guest)
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    guest.settle()
    assert where(guest) == []
    guest.instance.refresh_from_db()
    assert (guest.instance.node_id, guest.instance.observed_power) == (away.pk, "off")
    assert guest.findings() == []


def test_what_the_instance_is_made_of_does_not_change_on_the_way(guest):
    migrate(guest)
    disk = NewDisk(size_gb=1, base=None, bus="virtio", kind="disk")
    with pytest.raises(Conflict) as refused:
        guest.ask(disk_attach.request, guest.caller, guest.instance, disk)
    assert refused.value.code == "instance.moving"


def test_refused_while_something_works_on_it(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "pause")
    with pytest.raises(Conflict) as refused:
        migrate(guest)
    assert (refused.value.code, refused.value.details["kind"]) == ("instance.busy", "instance_power")


def test_refused_where_there_is_no_room_with_a_reason_for_each_node(guest, away):
    NodeCapacity.objects.filter(node=away.pk).update(limit_memory_mb=1)
    with pytest.raises(NoCapacity) as refused:
        migrate(guest)
    assert {row["node"]: row["stage"] for row in refused.value.details["nodes"]} == {
        guest.home.name: "unlike_its_node",
        away.name: "sufficient_idle_memory",
    }
    assert Operation.objects.filter(kind="instance_migrate").count() == 0
    assert guest.findings() == []


def test_a_running_guest_goes_only_where_the_processor_is_the_same(guest, away):
    Node.objects.filter(pk=away.pk).update(facts={"cpu_model": "another"})
    with pytest.raises(NoCapacity) as refused:
        migrate(guest)
    assert {row["stage"] for row in refused.value.details["nodes"]} == {"unlike_its_node"}
    accepted = migrate_cold(guest)
    guest.settle()
    assert ended(accepted).state == "succeeded"


def test_devices_that_cannot_move_are_listed(guest):
    guest.instance.disks.update(bus="nvme", device="nvme0")
    with pytest.raises(Conflict) as refused:
        migrate(guest)
    assert (refused.value.code, refused.value.details) == ("migration.devices", {"devices": ["nvme0"]})


def test_refused_when_its_node_is_silent_or_it_is_not_there_yet(guest):
    silence(guest.home)
    with pytest.raises(Conflict) as refused:
        migrate(guest)
    assert refused.value.code == "node.silent"
    guest.instance.state = "error"
    guest.instance.save()
    with pytest.raises(NotReady):
        migrate(guest)


def test_no_room_is_taken_and_no_wish_left_when_what_it_needs_cannot_come(guest, away):
    NodeObject.objects.filter(node=away.pk, object_type="blob").delete()
    away.host.fail_next("fetch_blob", Refused("fetch.denied", "by the test"), times=9)
    away.host._store._held["blobs"].clear()
    accepted = migrate(guest)
    guest.settle()
    assert (ended(accepted).state, ended(accepted).error_code) == ("cancelled", "dependency.failed")
    assert not NodeObject.objects.filter(node=away.pk, object_type="instance").exists()
    assert NodeCapacity.objects.get(node=away.pk).used_cpus == 0
    assert where(guest) == [guest.home.name]


def test_en_13_a_guest_that_was_shut_down_for_its_move_did_not_wish_to_be_off(guest, away):
    """Its node tells of it as of any guest that ended by itself."""
    known = guest.home.journal.known(f"instance:{guest.instance.pk}").generation
    accepted = migrate_cold(guest)
    work_until_sent(guest, accepted, "receive_instance")
    told = [str(guest.instance.pk)]
    guest.run(inventory.powered_off_by_guest, guest.home.row, told, {told[0]: known})
    guest.settle()
    guest.instance.refresh_from_db()
    assert (guest.instance.power, where(guest)) == ("on", [away.name])


def test_se_4_files_of_an_instance_are_for_the_node_that_receives_it(guest, away):
    accepted = migrate(guest)
    work_until_sent(guest, accepted, "receive_instance")
    token, identity = (
        Step.objects.get(operation=accepted.operation, action="receive_instance").token,
        str(guest.instance.pk),
    )
    assert away.instance_ticket(token, identity, str(guest.home.pk))["url"].endswith(f"/instances/{identity}")
    for node, instance, peer in (
        (guest.home, identity, guest.home.pk),
        (away, str(away.pk), guest.home.pk),
        (away, identity, away.pk),
    ):
        with pytest.raises(NotFound):
            node.instance_ticket(token, instance, str(peer))
    guest.settle()
    with pytest.raises(NotFound):
        away.instance_ticket(token, identity, str(guest.home.pk))


def test_en_7_a_node_to_which_something_moves_is_not_deleted(guest, away):
    accepted = migrate(guest)
    CarrierLease.objects.update(node=guest.home.pk)
    BlobLocation.objects.all().delete()
    with pytest.raises(Conflict) as refused:
        guest.ask(node_delete.request, guest.caller, away.row)
    assert refused.value.details["instances"] == 1
    guest.settle()
    assert ended(accepted).state == "succeeded"

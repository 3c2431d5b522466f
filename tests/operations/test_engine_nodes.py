"""Nodes that fall silent, return, or are replaced; what inventories prove (EN-12, EN-13)."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sftasks import sweep
from sftasks.operations import instance_create, instance_delete, instance_power, node_delete
from sftasks.reconcilers import node_objects, node_states
from sfweb.domain import enrolment, node_life
from sfweb.errors import Conflict, Gone, Unauthenticated
from sfweb.models import Instance, Node, NodeCapacity, NodeObject, Operation, Wanted
from sfweb.models.fields import FromNow
from tests.factories import new_instance


def fall_silent(cluster, node):
    """The node stops reporting long enough to be missing."""
    Node.objects.filter(pk=node.pk).update(last_seen=FromNow(-1000))
    node.letters.clear()
    cluster.run(node_states.run)


def state_of(accepted):
    return Operation.objects.get(pk=accepted.operation.pk).state


def test_en_12_a_delete_on_a_missing_node_succeeds_and_leaves_a_residue_that_keeps_what_it_took(guest):
    fall_silent(guest, guest.home)
    accepted = guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.run(sweep.sweep)
    guest.run(sweep.sweep)
    assert state_of(accepted) == "succeeded"
    assert Instance.objects.get(pk=guest.instance.pk).state == "deleted"
    assert NodeCapacity.objects.get(node_id=guest.home.pk).used_cpus == 1
    residue = NodeObject.objects.get(node_id=guest.home.pk, object_type="instance")
    assert (residue.wanted, residue.applied_wanted) == (Wanted.ABSENT, Wanted.PRESENT)


def test_en_12_a_returning_node_gets_its_residues_first_and_is_missing_until_they_are_confirmed(guest):
    fall_silent(guest, guest.home)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.run(sweep.sweep)
    guest.run(sweep.sweep)
    guest.run(guest.home.report)
    assert guest.home.row.state == "missing"
    guest.run(node_objects.run)
    guest.settle()
    guest.run(guest.home.report)
    assert guest.home.row.state == "created"
    assert guest.home.host.inventory().instances == {}
    assert NodeCapacity.objects.get(node_id=guest.home.pk).used_cpus == 0
    assert guest.findings() == []


def test_en_12_a_create_on_a_node_that_goes_missing_unwinds_with_node_missing(served):
    accepted = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))
    served.until(accepted.operation, "running")
    home = next(node for node in served.nodes if node.pk == accepted.row.node_id)
    fall_silent(served, home)
    for _ in range(3):
        served.run(sweep.sweep)
    operation = Operation.objects.get(pk=accepted.operation.pk)
    assert (operation.state, operation.error_code) == ("failed", "node.missing")
    assert Instance.objects.get(pk=accepted.row.pk).state == "error"


def test_en_12_a_power_wish_on_a_missing_node_fails_stays_wished_and_is_sent_when_it_returns(guest):
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    fall_silent(guest, guest.home)
    for _ in range(3):
        guest.run(sweep.sweep)
    assert state_of(accepted) == "failed"
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.settle()
    guest.instance.refresh_from_db()
    assert guest.home.host.inventory().instances[str(guest.instance.pk)] == guest.instance.power


def test_en_12_another_journal_puts_instances_into_error_and_sends_nothing(guest):
    (guest.home.directory / "journal.sqlite").unlink()
    guest.home.restart()
    answer = guest.run(guest.home.report)
    assert (answer.accepted, answer.steps) == (False, ())
    guest.instance.refresh_from_db()
    assert (guest.instance.state, guest.instance.error_message) == ("error", "node lost its disk")
    accepted = guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle(rounds=5)
    assert state_of(accepted) == "running", "an operator has to accept the node first"
    guest.run(node_life.accept, guest.home.row)
    guest.settle()
    assert state_of(accepted) == "succeeded"
    assert guest.findings() == []


def test_en_12_an_enrolment_secret_works_once_and_the_old_identity_ends(guest):
    with pytest.raises(Conflict, match="reported a moment ago"):
        enrolment.enrol(guest.home.name)
    line = enrolment.enrol(guest.home.name, replace=True)
    node, secret = line.rsplit(":", 2)[1:]
    assert node == str(guest.home.pk)
    with pytest.raises(Unauthenticated):
        enrolment.authenticate(guest.home.pk, guest.home.identity.secret)
    fresh = enrolment.exchange(guest.home.pk, secret)
    assert enrolment.authenticate(guest.home.pk, fresh["secret"]).name == guest.home.name
    with pytest.raises(Unauthenticated):
        enrolment.exchange(guest.home.pk, secret)


def test_en_12_a_deleted_nodes_agent_is_told_that_it_is_gone(served):
    empty = next(node for node in served.nodes if not node.host.inventory().networks)
    served.ask(node_delete.request, served.caller, empty.row)
    with pytest.raises(Gone):
        enrolment.authenticate(empty.pk, empty.identity.secret)


def test_co_15_a_node_that_carries_anything_is_not_deleted(guest):
    with pytest.raises(Conflict) as caught:
        guest.ask(node_delete.request, guest.caller, guest.home.row)
    assert caught.value.details["instances"] == 1


def test_en_13_absence_needs_two_complete_inventories_and_is_then_repaired(guest):
    guest.home.host.power_cut()
    guest.run(guest.home.report, with_inventory=True)
    guest.run(node_objects.run)
    networks = NodeObject.objects.get(node_id=guest.home.pk, object_type="network")
    assert networks.applied_generation > 0, "one inventory proves no absence"
    guest.run(guest.home.report, with_inventory=True)
    guest.run(node_objects.run)
    guest.settle()
    guest.run(node_objects.run)
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"
    assert guest.findings() == []


def test_en_13_an_incomplete_inventory_proves_no_absence(guest):
    guest.home.host.power_cut()
    guest.home.host.unreadable = ("networks",)
    for _ in range(3):
        guest.run(guest.home.report, with_inventory=True)
    assert NodeObject.objects.get(node_id=guest.home.pk, object_type="network").applied_generation > 0


def test_en_13_an_inventory_older_than_the_last_outcome_says_nothing(guest):
    from nodeagent.wire import Inventory
    from sfweb.internal import inventory

    old = Inventory(seq=0, complete=True, objects=())
    for _ in range(3):
        guest.run(inventory.compare, guest.home.row, old)
    assert not NodeObject.objects.filter(node_id=guest.home.pk, applied_generation=0).exists()


def test_en_13_a_guest_that_shut_itself_down_stays_off(guest):
    guest.home.host.end_domain(str(guest.instance.pk), "guest")
    guest.home.findings.powered_off[str(guest.instance.pk)] = guest.instance.generation
    guest.run(guest.home.report, with_inventory=True)
    guest.run(node_objects.run)
    guest.settle()
    guest.instance.refresh_from_db()
    assert (guest.instance.power, guest.instance.observed_power) == ("off", "off")
    assert guest.home.host.domain(str(guest.instance.pk)) is None


def test_en_13_a_guest_that_crashed_is_started_again(guest):
    guest.home.host.end_domain(str(guest.instance.pk), "crashed")
    guest.run(guest.home.report, with_inventory=True)
    guest.run(node_objects.run)
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_sc_7_a_limit_is_what_the_node_offers_times_its_ratio(served, settings):
    settings.CPU_OVERCOMMIT_RATIO, settings.RAM_OVERCOMMIT_RATIO, settings.DISK_OVERCOMMIT_RATIO = 2.5, 1.5, 3.0
    node = served.nodes[0]
    offered = node.host.capacity()
    served.run(node.report)
    row = NodeCapacity.objects.get(node_id=node.pk)
    assert row.limit_cpus == int(offered.cpus * 2.5)
    assert (row.limit_memory_mb, row.limit_disk_gb) == (int(offered.memory_mb * 1.5), offered.disk_gb * 3)
    assert row.largest_cpus == offered.cpus, "one instance never gets more than the node has"


def test_se_6_capacity_above_the_ceiling_is_ignored(guest):
    capacity = NodeCapacity.objects.get(node_id=guest.home.pk)
    guest.home.host._capacity = type(guest.home.host.capacity())(cpus=999, memory_mb=99999999, disk_gb=99999)
    guest.run(guest.home.report)
    after = NodeCapacity.objects.get(node_id=guest.home.pk)
    assert (after.limit_cpus, after.limit_memory_mb) == (capacity.limit_cpus, capacity.limit_memory_mb)


def test_a_node_that_reports_again_is_placeable_again(served):
    fall_silent(served, served.nodes[0])
    assert served.nodes[0].row.state == "missing"
    served.run(served.nodes[0].report)
    assert served.nodes[0].row.state == "created"


def test_en_12_two_inventories_bring_instances_whose_disks_are_there_out_of_error(guest):
    (guest.home.directory / "journal.sqlite").unlink()
    guest.home.restart()
    guest.run(guest.home.report)
    call_command("accept_node", guest.home.name)
    guest.run(guest.home.report, with_inventory=True)
    assert Instance.objects.get(pk=guest.instance.pk).state == "error"
    guest.run(guest.home.report, with_inventory=True)
    assert Instance.objects.get(pk=guest.instance.pk).state == "created"
    guest.run(node_objects.run)
    guest.settle()
    assert guest.findings() == []


def test_en_12_no_new_disk_is_made_for_an_instance_that_lost_its_own(guest):
    guest.home.host.stop_domain(str(guest.instance.pk))
    guest.home.host.remove_instance_files(str(guest.instance.pk))
    (guest.home.directory / "journal.sqlite").unlink()
    guest.home.restart()
    guest.run(guest.home.report)
    call_command("accept_node", guest.home.name)
    for _ in range(3):
        guest.run(guest.home.report, with_inventory=True)
        guest.run(node_objects.run)
        guest.settle()
    assert Instance.objects.get(pk=guest.instance.pk).state == "error"
    assert guest.home.host.inventory().instances == {}


def test_en_12_a_dead_nodes_residues_are_free_again(guest):
    fall_silent(guest, guest.home)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.run(sweep.sweep)
    guest.run(sweep.sweep)
    with pytest.raises(CommandError, match="differ"):
        call_command("node_is_dead", guest.home.name, again="another")
    call_command("node_is_dead", guest.home.name, again=guest.home.name)
    assert NodeCapacity.objects.get(node_id=guest.home.pk).used_cpus == 0
    assert not NodeObject.objects.filter(node_id=guest.home.pk).exists()
    with pytest.raises(Gone):
        enrolment.authenticate(guest.home.pk, guest.home.identity.secret)


def test_en_13_one_look_that_is_reported_twice_proves_no_absence(guest):
    """The answer to a report with an inventory was lost, so the same inventory comes again."""
    from nodeagent.wire import Inventory
    from sfweb.internal import inventory

    guest.home.host.power_cut()
    look = Inventory(seq=guest.home.journal.seq, complete=True, objects=(), uuid="one-look")
    for _ in range(3):
        guest.run(inventory.compare, guest.home.row, look)
    assert NodeObject.objects.get(node_id=guest.home.pk, object_type="network").applied_generation > 0

"""What a node may still hold is never given away, and what nobody wants is taken away in the end (EN-1, EN-12, EN-13)."""

from sftasks import engine, explain, sweep
from sftasks.operations import (
    instance_create,
    instance_delete,
    instance_power,
    network_create,
    network_delete,
    node_delete,
)
from sftasks.plans import networks
from sftasks.reconcilers import hard_deletes, node_objects, node_states
from sfweb.domain import node_life
from sfweb.models import (
    FLOATING,
    Address,
    CarrierLease,
    Instance,
    Interface,
    Network,
    Node,
    NodeCapacity,
    NodeObject,
    Operation,
    PoolAllocation,
    Wanted,
)
from sfweb.models.fields import FromNow
from tests.factories import new_instance, new_network


def fall_silent(cluster, node):
    Node.objects.filter(pk=node.pk).update(last_seen=FromNow(-1000))
    node.letters.clear()
    cluster.run(node_states.run)


def let_a_week_pass(cluster):
    """Ended operations go, and their steps with them."""
    Operation.objects.exclude(finished_at=None).update(finished_at=FromNow(-8 * 86400))
    for _ in range(5):
        cluster.run(hard_deletes.run)


def guests_on(node):
    return set(node.host.inventory().instances)


def test_en_1_a_guest_whose_steps_are_long_forgotten_is_still_taken_away_after_its_node_was_accepted(guest):
    let_a_week_pass(guest)
    (guest.home.directory / "journal.sqlite").unlink()
    guest.home.restart()
    guest.run(guest.home.report)
    guest.run(node_life.accept, guest.home.row)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert Instance.objects.get(pk=guest.instance.pk).state == "deleted"
    assert guests_on(guest.home) == set(), "its address would be given to another while it runs"
    assert guest.findings() == []


def test_en_1_a_guest_that_has_just_drifted_is_still_taken_away(guest):
    let_a_week_pass(guest)
    guest.home.host.suspend_domain(str(guest.instance.pk))
    guest.run(guest.home.report, with_inventory=True)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert guests_on(guest.home) == set()


def test_en_1_what_was_sent_to_a_node_and_never_answered_is_remembered_for_longer_than_a_week(served):
    accepted = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))
    served.until(accepted.operation, "running")
    home = next(node for node in served.nodes if node.pk == accepted.row.node_id)
    served.run(home.work)
    home.journal.close()
    home.outbox = []
    fall_silent(served, home)
    for _ in range(3):
        served.run(sweep.sweep)
    let_a_week_pass(served)
    served.ask(instance_delete.request, served.caller, Instance.objects.get(pk=accepted.row.pk))
    for _ in range(3):
        served.run(sweep.sweep)
    assert NodeCapacity.objects.get(node_id=home.pk).used_cpus == 1, "the guest may run there"
    assert NodeObject.objects.get(object_type="instance").wanted == Wanted.ABSENT


def test_en_13_a_deleted_guest_that_is_seen_again_is_taken_away_again(guest):
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    guest.home.host._put("restore", "domains", str(guest.instance.pk), {"power": "on", "digest": "", "ports": []})
    assert guests_on(guest.home) == {str(guest.instance.pk)}
    guest.run(guest.home.report, with_inventory=True)
    guest.run(node_objects.run)
    guest.settle()
    assert guests_on(guest.home) == set()
    assert guest.findings() == []


def test_en_1_an_old_absence_proves_nothing_about_what_was_sent_since(guest):
    """The network left this node once, comes again with a new guest, and the node falls silent before it answers."""
    away = next(node for node in guest.nodes if not node.host.inventory().routers)
    row = NodeObject.objects.filter(node_id=away.pk, object_type="network")
    first = guest.ask(instance_create.request, guest.caller, new_instance("one", "tenant", "net", placed_on=away.name))
    guest.settle()
    guest.ask(instance_delete.request, guest.caller, Instance.objects.get(pk=first.row.pk))
    if guest.home is away:
        guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert row.get().applied_wanted == Wanted.ABSENT
    guest.ask(instance_create.request, guest.caller, new_instance("two", "tenant", "net", placed_on=away.name))
    guest.run(away.work)
    away.outbox = []
    assert str(guest.network.pk) in away.host.inventory().networks
    fall_silent(guest, away)
    carrier = next(node for node in guest.nodes if node is not away)
    for call in (carrier.work, carrier.tell, carrier.work, carrier.tell, sweep.sweep, sweep.sweep, sweep.sweep):
        guest.run(call)
    assert row.get().wanted == Wanted.ABSENT
    guest.run(away.report)
    assert away.row.state == "missing", "it may still hold what nobody wants"
    guest.run(node_objects.run)
    guest.settle()
    assert str(guest.network.pk) not in away.host.inventory().networks


def test_en_12_a_start_does_not_go_on_without_its_missing_carrier(guest):
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    away = next(node for node in guest.nodes if node is not carrier)
    wanted = new_instance("two", "tenant", "net", placed_on=away.name)
    accepted = guest.ask(instance_create.request, guest.caller, wanted)
    fall_silent(guest, carrier)
    for call in (away.work, away.tell, away.work, away.tell, sweep.sweep, sweep.sweep, sweep.sweep):
        guest.run(call)
    operation = Operation.objects.get(pk=accepted.operation.pk)
    assert (operation.state, operation.error_code) == ("cancelled", "dependency.failed")
    assert Instance.objects.get(pk=accepted.row.pk).state == "error"


def test_en_12_a_network_is_not_created_without_its_missing_carrier(make_bare):
    bare = make_bare()
    accepted = bare.ask(network_create.request, bare.caller, new_network())
    for node in bare.nodes:
        fall_silent(bare, node)
    for _ in range(3):
        bare.run(sweep.sweep)
    assert Network.objects.get(pk=accepted.row.pk).state == "error"


def test_en_12_a_power_wish_on_a_missing_node_is_not_taken_back(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    fall_silent(guest, guest.home)
    for _ in range(3):
        guest.run(sweep.sweep)
    guest.instance.refresh_from_db()
    assert guest.instance.power == "off"
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.settle()
    assert guest.home.host.inventory().instances[str(guest.instance.pk)] == "off"


def test_en_12_a_residue_that_takes_long_to_go_is_waited_for(guest):
    """The sweep comes while the returned node is still at it: it is missing, but not silent."""
    fall_silent(guest, guest.home)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    for _ in range(2):
        guest.run(sweep.sweep)
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.run(sweep.sweep)
    guest.run(guest.home.work)
    guest.run(guest.home.tell)
    guest.run(guest.home.report)
    assert guest.home.row.state == "created"
    assert NodeCapacity.objects.get(node_id=guest.home.pk).used_cpus == 0


def egress_of(network):
    return Address.objects.filter(network_id=FLOATING, owner_uuid=network.pk)


def test_en_12_a_networks_outside_address_stays_taken_while_a_silent_carrier_may_answer_for_it(served):
    carrier = next(node for node in served.nodes if node.host.inventory().routers)
    fall_silent(served, carrier)
    served.ask(network_delete.request, served.caller, served.network)
    for _ in range(3):
        served.run(sweep.sweep)
    assert Network.objects.get(pk=served.network.pk).state == "deleted"
    assert egress_of(served.network).exists(), "another network would get it, and two routers would answer for it"
    served.run(carrier.report)
    served.run(node_objects.run)
    served.settle()
    assert carrier.host.inventory().routers == {}
    assert not egress_of(served.network).exists()
    assert served.findings() == []


def test_en_1_a_network_whose_removal_was_refused_is_taken_away_by_the_next_delete(served):
    carrier = next(node for node in served.nodes if node.host.inventory().routers)
    carrier.host.faults.fail_next("remove_router", RuntimeError("stuck"), times=2)
    served.ask(network_delete.request, served.caller, served.network)
    served.settle()
    assert Network.objects.get(pk=served.network.pk).state == "error"
    served.ask(network_delete.request, served.caller, Network.objects.get(pk=served.network.pk))
    served.settle()
    assert Network.objects.get(pk=served.network.pk).state == "deleted"
    assert carrier.host.inventory().routers == {}
    assert served.findings() == []


def test_en_1_a_network_that_is_deleted_while_it_is_made_is_gone_only_when_its_carrier_says_so(make_bare):
    bare = make_bare()
    network = bare.ask(network_create.request, bare.caller, new_network()).row
    carrier = next(node for node in bare.nodes if node.letters)
    for call in (carrier.work, carrier.tell, carrier.work):
        bare.run(call)
    assert carrier.host.inventory().routers, "it is there, and its node has not said so yet"
    bare.ask(network_delete.request, bare.caller, network)
    assert Network.objects.get(pk=network.pk).state == "delete-wait"
    assert egress_of(network).exists()
    bare.settle()
    assert Network.objects.get(pk=network.pk).state == "deleted"
    assert bare.findings() == []


def test_co_15_a_deleted_nodes_residues_are_free_again(make_guest):
    cluster = make_guest()
    home = cluster.home
    fall_silent(cluster, home)
    cluster.ask(instance_delete.request, cluster.caller, cluster.instance)
    for _ in range(2):
        cluster.run(sweep.sweep)
    CarrierLease.objects.filter(node_id=home.pk).update(node=None)
    cluster.ask(node_delete.request, cluster.caller, home.row)
    cluster.run(sweep.sweep)
    assert not PoolAllocation.objects.filter(owner_uuid=cluster.instance.pk).exists()
    assert not PoolAllocation.objects.filter(owner_type="interface").exists()


def test_en_12_what_was_left_taken_when_a_node_was_given_up_is_freed_with_the_row(guest):
    """The operator's command died between declaring the node dead and freeing what its residues kept."""
    fall_silent(guest, guest.home)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    for _ in range(2):
        guest.run(sweep.sweep)
    guest.run(node_life.declare_dead, guest.home.row)
    Instance.objects.update(deleted_at=FromNow(-10_000))
    guest.run(hard_deletes.run)
    assert not Instance.objects.exists()
    assert not PoolAllocation.objects.filter(owner_type__in=("instance", "interface")).exists()


def test_en_14_a_guest_whose_delete_was_cancelled_on_its_way_gives_its_cards_back_with_its_addresses(guest):
    """The wish stays retracted, so the reconciler ends it: no card may keep an address or MAC that others are given."""
    Node.objects.filter(pk=guest.home.pk).update(last_seen=FromNow(-100))
    accepted = guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    assert Operation.objects.get(pk=accepted.operation.pk).state == "cancelled"
    guest.run(guest.home.report)
    guest.run(node_objects.run)
    guest.settle()
    assert guests_on(guest.home) == set()
    assert not Interface.objects.exclude(state="deleted").exists()
    assert guest.findings() == []


def test_en_14_a_cancel_that_comes_when_all_is_done_changes_nothing(guest):
    accepted = guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.run(guest.home.work)
    guest.run(engine.cancel, accepted.operation.pk, guest.caller)
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "succeeded"
    assert Instance.objects.get(pk=guest.instance.pk).state == "deleted"
    assert guest.findings() == []


def test_en_12_what_a_returning_node_should_no_longer_get_does_not_keep_back_what_it_has_to_let_go(served):
    """Found by the engine's stories: the node waited for the removal, the removal for the node."""
    node = served.nodes[1]
    network = Network.objects.get(name="net")
    served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net", placed_on=node.name))
    served.settle()
    assert node.host.inventory().networks
    fall_silent(served, node)
    Node.objects.filter(pk=node.pk).update(last_seen=FromNow(0))  # it reports again, with something to let go yet
    NodeObject.objects.filter(node_id=node.pk, object_type="network").update(applied_generation=0)
    ensure = served.run(engine.submit, networks.on_node(network, node.pk, served.caller))
    assert "missing until" in explain.why(Operation.objects.get(pk=ensure.pk))["sentence"]
    instance = Instance.objects.get(name="guest")
    served.ask(instance_delete.request, served.caller, instance)
    for _ in range(4):
        served.run(node.report)
        served.run(node_objects.run)
        served.settle()
    assert Node.objects.get(pk=node.pk).state == "created"
    assert not Operation.objects.filter(state__in=("waiting", "running", "unwinding")).exists()
    assert node.host.inventory().instances == {}
    assert served.findings() == []

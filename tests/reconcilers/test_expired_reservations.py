"""expired_reservations: what was claimed for nothing is given back, and only that (SC-32)."""

import pytest

from sftasks.operations import instance_create
from sftasks.reconcilers import expired_reservations
from sfweb.domain import capacity, reservations
from sfweb.models import Event, Instance, NodeCapacity, NodeObject, Operation, PlacementReservation
from sfweb.models.fields import FromNow, UtcNow
from tests.factories import new_instance


def make_old():
    PlacementReservation.objects.update(expires_at=FromNow(-1))


def used(node):
    return capacity.counters_of(node)["cpus"]["used"]


@pytest.fixture
def claimed(served):
    """A cluster with an instance whose operation still waits."""
    served.instance = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net")).row
    return served


def test_sc_32_a_claim_is_renewed_while_its_instance_is_made(claimed):
    make_old()
    assert claimed.run(expired_reservations.run) == {"renewed": 1, "expired": 0}
    row = PlacementReservation.objects.get()
    assert row.state == "claimed"
    assert PlacementReservation.objects.filter(expires_at__gt=FromNow(500)).exists()
    claimed.settle()
    row.refresh_from_db()
    assert (row.state, row.expires_at) == ("consumed", None)


def test_sc_32_a_claim_that_nothing_stands_for_is_given_back_once_and_told(claimed):
    Operation.objects.update(state="failed")
    NodeObject.objects.filter(object_type="instance").delete()
    assert claimed.run(expired_reservations.run) == {"renewed": 0, "expired": 0}, "not before its time"
    make_old()
    home = claimed.instance.node_id
    assert used(home) == 1
    assert claimed.run(expired_reservations.run) == {"renewed": 0, "expired": 1}
    assert claimed.run(expired_reservations.run) == {"renewed": 0, "expired": 0}
    assert (PlacementReservation.objects.get().state, used(home)) == ("expired", 0)
    assert Event.objects.filter(message="reservation expired").count() == 1
    reservations.release(claimed.instance)
    assert used(home) == 0


def test_sc_32_a_claim_stays_while_its_node_may_hold_the_guest(claimed):
    Operation.objects.update(state="failed")
    make_old()
    assert claimed.run(expired_reservations.run) == {"renewed": 0, "expired": 0}
    assert PlacementReservation.objects.filter(state="claimed", expires_at__gt=UtcNow()).count() == 1


@pytest.mark.parametrize("state", ["expired", "released", None])
def test_sc_11_what_a_node_holds_is_counted_whether_it_fits_or_not(guest, state):
    home = guest.home
    if state is None:
        PlacementReservation.objects.all().delete()
    else:
        PlacementReservation.objects.update(state=state)
    NodeCapacity.objects.filter(node_id=home.pk).update(used_cpus=0, used_memory_mb=0, used_disk_gb=0, ceiling_cpus=0)
    for _ in range(2):
        guest.run(home.report, with_inventory=True)
    row = PlacementReservation.objects.get()
    assert (row.state, row.node_id, row.cpus, row.memory_mb) == ("consumed", home.pk, 1, 256)
    assert used(home.pk) == 1
    assert Event.objects.filter(message__endswith="it is over its limit now").count() == 1
    guest.run(home.report, with_inventory=True)
    assert used(home.pk) == 1


def test_sc_11_a_guest_that_came_up_after_its_claim_had_expired_counts(claimed):
    PlacementReservation.objects.update(state="expired")
    NodeCapacity.objects.update(used_cpus=0, used_memory_mb=0, used_disk_gb=0)
    claimed.settle()
    assert Instance.objects.get().state == "created"
    assert (PlacementReservation.objects.get().state, used(claimed.instance.node_id)) == ("consumed", 1)
    assert claimed.findings() == []


@pytest.mark.parametrize("busy", [True, False])
def test_sc_11_a_look_that_is_older_than_the_last_work_counts_nothing(guest, busy):
    PlacementReservation.objects.update(state="released")
    NodeCapacity.objects.update(used_cpus=0, used_memory_mb=0, used_disk_gb=0)
    if busy:
        Operation.objects.filter(kind="instance_create").update(state="unwinding")
    else:
        NodeObject.objects.filter(object_type="instance").update(seq=10**6)
    guest.run(guest.home.report, with_inventory=True)
    assert PlacementReservation.objects.get().state == "released"
    assert used(guest.home.pk) == 0

"""Several clocks at once, on a real database: every slot has one operation, whoever comes first (RO-5)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import OperationalError, connection

from sftasks import celery, schedule, ticks
from sftasks.reconcilers import schedules as reconciler
from sfweb.domain import recurrence, schedules
from sfweb.domain.schedules import NewSchedule
from sfweb.models import Duty, Namespace, Node, Operation, Schedule, Tick
from sfweb.models.fields import FromNow, UtcNow
from tests.api.world import make_instance, make_node
from tests.factories import make_namespace

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]
SCHEDULES, CLOCKS = 24, 4


@pytest.fixture
def many(monkeypatch):
    """As many instances as schedules, each due now."""
    monkeypatch.setattr(celery, "ring", lambda messages: 0)
    caller = make_namespace()
    tenant, node = Namespace.objects.get(name="tenant"), make_node("n1")
    for number in range(SCHEDULES):
        wanted = NewSchedule(
            name=f"s{number}",
            instance=make_instance(tenant, f"i{number}", node),
            kind="snapshot",
            arguments={"all": True},
            recurrence=recurrence.every(3600),
        )
        schedules.create(caller, wanted)
    Schedule.objects.update(next_tick=FromNow(-1))
    return caller


def at_once(act):
    barrier = threading.Barrier(CLOCKS)

    def one(number):
        barrier.wait()
        try:
            return act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(CLOCKS) as pool:
        return list(pool.map(one, range(CLOCKS)))


def slots():
    return Tick.objects.count(), Operation.objects.filter(kind="instance_snapshot").count()


def test_ro_5_passes_that_race_give_one_operation_a_slot(many):
    counts = at_once(lambda _: reconciler.run())
    assert sum(one["started"] for one in counts) == SCHEDULES
    assert slots() == (SCHEDULES, SCHEDULES)
    assert set(Tick.objects.values_list("state", flat=True)) == {"started"}
    assert not Schedule.objects.filter(next_tick__lte=UtcNow()).exists()


def test_ro_5_two_beats_give_one_operation_a_slot(many):
    """Each beat's message arrives at some worker; the duty's slot and the schedules' rows both tell them apart."""
    Duty.objects.create(name="schedules", next_run_at=FromNow(-1))
    ran = at_once(lambda _: schedule.run("schedules"))
    assert len([one for one in ran if one is not None]) == 1
    assert slots() == (SCHEDULES, SCHEDULES)


def test_ro_5_a_connection_that_is_cut_within_a_tick_leaves_nothing_and_the_tick_is_had_once(many, monkeypatch):
    genuine, cut = ticks._write, []

    def cut_once(*arguments, **columns):
        if not cut:
            cut.append(1)
            with suppress(OperationalError), connection.cursor() as cursor:
                cursor.execute("KILL CONNECTION_ID()")
        return genuine(*arguments, **columns)

    monkeypatch.setattr(ticks, "_write", cut_once)
    at_once(lambda _: reconciler.run())
    assert cut
    assert slots() == (SCHEDULES, SCHEDULES)
    assert not Schedule.objects.filter(next_tick__lte=UtcNow()).exists()


def test_ro_5_without_the_condition_slots_are_doubled_or_refused(many, monkeypatch):
    """That the conditional update does it: without, the unique tick alone has to refuse what comes second."""

    def claims_all(due, **columns):
        Schedule.objects.filter(pk=due.schedule).update(next_tick=due.following, last_tick=due.due, **columns)
        return True

    refused = []
    genuine = ticks._attempt

    def counts(due):
        try:
            return genuine(due)
        except ticks.Had:
            refused.append(due)
            raise

    monkeypatch.setattr(ticks, "_claim", claims_all)
    monkeypatch.setattr(ticks, "_attempt", counts)
    monkeypatch.setattr(schedules, "require_right", lambda row: None)
    dues = [reconciler._with_following(row) for batch in reconciler._due() for row in batch]
    at_once(lambda _: [ticks.take([due]) for due in dues])
    assert refused, "the database had to tell them apart"
    assert slots() == (SCHEDULES, SCHEDULES)
    assert Node.objects.count() == 1

"""EN-17: a duty's slot belongs to one run at a time, for as long as its process lives and no longer."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection

from sftasks import schedule
from sftasks.reconcilers import node_states
from sfweb.models import Duty
from sfweb.models.fields import FromNow, UtcNow, database_now


@pytest.fixture
def duty(db):
    return Duty.objects.create(name="node_states", next_run_at=UtcNow())


def test_a_process_that_died_in_a_run_gives_its_slot_up_within_half_a_minute(duty):
    """Killed in the middle of a sweep it would else keep the sweep from everybody, beat's thread included."""
    assert schedule._claim("node_states", 10)
    Duty.objects.update(next_run_at=FromNow(-1))
    assert schedule.run("node_states") is None
    duty.refresh_from_db()
    assert (duty.running_until - database_now()).total_seconds() <= 30
    Duty.objects.update(running_until=FromNow(-1))
    assert (schedule.run("node_states") or {}).get("missing") == 0


def test_a_run_that_fails_while_the_database_is_away_tells_its_own_error(duty, monkeypatch):
    def fails():
        raise ValueError("the first error")

    def away(*_, **__):
        raise OperationalError(2002, "no server")

    monkeypatch.setattr(node_states, "run", fails)
    monkeypatch.setattr(schedule, "_finish", away)
    with pytest.raises(ValueError, match="the first error"):
        schedule.run("node_states")


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_a_run_that_takes_longer_than_its_lease_is_not_overlapped(monkeypatch, settings):
    Duty.objects.create(name="node_states", next_run_at=UtcNow())
    settings.TIME_SCALE = 0.01

    def is_slow():
        time.sleep(1.5)
        return {"missing": 0}

    def try_it():
        try:
            return schedule.run("node_states")
        finally:
            connection.close()

    monkeypatch.setattr(node_states, "run", is_slow)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(try_it)
        time.sleep(0.9)
        assert schedule.run("node_states") is None
        assert first.result() == {"missing": 0}
    assert Duty.objects.get().running_until is None


def test_en_17_beat_does_itself_what_operations_need_when_no_message_arrives(db):
    """Without Redis nodes that hold a network still learn of its members, by their reports' answers."""
    for name in ("sweep_operations", "put_off", "node_states"):
        Duty.objects.create(name=name, next_run_at=FromNow(-schedule.OVERDUE_SECONDS + 5))
    understudy = schedule.Understudy()
    assert not understudy.look()
    Duty.objects.update(next_run_at=FromNow(-schedule.OVERDUE_SECONDS - 5))
    assert understudy.look()
    ran = Duty.objects.exclude(last_run_at=None).values_list("name", flat=True)
    assert set(ran) == {"sweep_operations", "put_off"}
    assert not understudy.look()

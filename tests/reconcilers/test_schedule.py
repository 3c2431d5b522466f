"""The clock's slots: never two at once, and none lost for long with the process that had it (EN-17)."""

import pytest
from django_celery_beat.models import PeriodicTask

from sftasks import schedule
from sfweb.models import Duty
from sfweb.models.fields import FromNow

pytestmark = pytest.mark.django_db


def test_en_17_a_slot_is_claimed_once():
    Duty.objects.create(name="sweep_operations", next_run_at=FromNow(-1))
    assert schedule._claim("sweep_operations", 10)
    Duty.objects.update(next_run_at=FromNow(-1))
    assert not schedule._claim("sweep_operations", 10)


def test_en_6_a_sweep_whose_process_died_is_followed_by_the_next_within_a_minute():
    Duty.objects.create(name="sweep_operations", next_run_at=FromNow(-1))
    assert schedule._claim("sweep_operations", 10)
    assert Duty.objects.filter(running_until__lte=FromNow(60)).exists()
    Duty.objects.update(next_run_at=FromNow(-1), running_until=FromNow(-1))
    assert schedule.run("sweep_operations") is not None


def test_a_last_run_in_the_future_keeps_beat_from_nothing():
    """As left by a host whose clock was wrong; a last run that was is kept."""
    schedule.install()
    PeriodicTask.objects.filter(name="notices").update(last_run_at=FromNow(86400))
    PeriodicTask.objects.filter(name="schedules").update(last_run_at=FromNow(-60))
    schedule.install()
    found = dict(PeriodicTask.objects.values_list("name", "last_run_at"))
    assert found["notices"] is None
    assert found["schedules"] is not None

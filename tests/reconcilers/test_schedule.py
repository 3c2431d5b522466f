"""The clock's slots: never two at once, and none lost for long with the process that had it (EN-17)."""

import pytest

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

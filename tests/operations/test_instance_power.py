"""instance_power: a wish that the newest wins; put back when it cannot be had."""

import pytest

from nodeagent.host import Refused
from sftasks.operations import instance_power
from sfweb.models import Instance, Operation
from tests.cluster import repeats_are_harmless, unwinds_from_every_step


def power(cluster, verb="poweroff"):
    return cluster.ask(instance_power.request, cluster.caller, cluster.instance, verb)


@pytest.mark.parametrize(
    ("verbs", "power_after"),
    [
        (["poweroff"], "off"),
        (["poweroff", "poweron"], "on"),
        (["pause"], "paused"),
        (["pause", "pause"], "paused"),
        (["pause", "unpause"], "on"),
        (["poweron"], "on"),
    ],
)
def test_pw_1_the_verbs(guest, verbs, power_after):
    for verb in verbs:
        power(guest, verb)
        guest.settle()
    guest.instance.refresh_from_db()
    assert guest.instance.observed_power == power_after
    assert guest.home.host.inventory().instances[str(guest.instance.pk)] == power_after
    assert guest.findings() == []


def test_en_1_a_wish_that_is_refused_is_put_back(guest):
    power(guest, "poweroff")
    guest.settle()
    guest.home.host.fail_next("start_domain", Refused("disk.full"))
    accepted = power(guest, "poweron")
    guest.settle()
    assert Operation.objects.get(pk=accepted.operation.pk).state == "failed"
    assert Instance.objects.get(pk=guest.instance.pk).power == "off"
    assert guest.findings() == []


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, power).state == "succeeded"


def test_unwinds_from_every_step(make_guest):
    assert unwinds_from_every_step(make_guest, power) == ["ensure_instance"]

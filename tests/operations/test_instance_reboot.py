"""instance_reboot: done once."""

from sftasks.operations import instance_power
from tests.cluster import repeats_are_harmless


def reboot(cluster):
    return cluster.ask(instance_power.request, cluster.caller, cluster.instance, "rebootsoft")


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, reboot).state == "succeeded"
    assert [effect for effect in guest.home.host.effects if effect[0] == "reboot_domain"] == [
        ("reboot_domain", str(guest.instance.pk))
    ]


def test_a_reboot_changes_no_wish(guest):
    reboot(guest)
    guest.settle()
    guest.instance.refresh_from_db()
    assert (guest.instance.state, guest.instance.power) == ("created", "on")
    assert guest.findings() == []

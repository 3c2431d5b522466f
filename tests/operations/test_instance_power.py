"""instance_power: a wish that the newest wins; put back when it cannot be had."""

import pytest

from nodeagent.duties import domain_events
from nodeagent.host import DomainEvent, Refused
from nodeagent.reporter import Surroundings
from sftasks.operations import instance_power, interface_plug
from sftasks.reconcilers import node_objects
from sfweb.domain.specs import NewInterface
from sfweb.errors import Conflict, NotReady
from sfweb.models import Event, EventObject, Instance, Operation
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


@pytest.mark.parametrize(
    ("before", "verb"),
    [
        ([], "poweron"),
        ([], "unpause"),
        (["poweroff"], "poweroff"),
        (["poweroff"], "pause"),
        (["poweroff"], "unpause"),
        (["poweroff"], "rebootsoft"),
        (["poweroff"], "reboothard"),
        (["pause"], "poweron"),
        (["pause"], "rebootsoft"),
    ],
)
def test_pw_1_a_verb_that_makes_no_sense_is_a_conflict_that_names_the_state(guest, before, verb):
    for each in before:
        power(guest, each)
        guest.settle()
    row = Instance.objects.get(pk=guest.instance.pk)
    with pytest.raises(Conflict, match=f"is {row.power}"):
        power(guest, verb)
    assert Instance.objects.get(pk=row.pk).generation == row.generation
    assert guest.findings() == []


@pytest.mark.parametrize("state", ["creating", "error", "delete-wait"])
def test_pw_1_only_a_created_instance_has_power(guest, state):
    Instance.objects.filter(pk=guest.instance.pk).update(state=state)
    with pytest.raises(NotReady, match=state):
        power(guest, "poweroff")


def test_pw_1_said_twice_while_it_is_done_it_is_one_wish(guest):
    power(guest, "poweroff")
    power(guest, "poweroff")
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)) is None
    with pytest.raises(Conflict, match="is off"):
        power(guest, "poweroff")


def test_pw_1_what_failed_is_switched_on_again(guest):
    Instance.objects.filter(pk=guest.instance.pk).update(observed_power="off")
    guest.home.host.end_domain(str(guest.instance.pk), "crashed")
    power(guest, "poweron")
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def notice(guest):
    """The node's duty looks at what its domains did."""
    around = Surroundings(
        config=None,
        identity=guest.home.identity,
        journal=guest.home.journal,
        host=guest.home.host,
        findings=guest.home.findings,
        events=guest.home.host.events,
    )
    domain_events.run(around)


def shut_down_inside(guest):
    """The guest ends by itself; its node has noticed that and not reported it yet."""
    guest.home.host.end_domain(str(guest.instance.pk), "guest")
    notice(guest)


def test_pw_1_a_guests_shutdown_is_its_owners_wish(guest):
    shut_down_inside(guest)
    guest.run(guest.home.report)
    guest.settle()
    row = Instance.objects.get(pk=guest.instance.pk)
    assert (row.power, row.observed_power) == ("off", "off")
    assert guest.findings() == []


def test_pw_1_a_shutdown_that_is_older_than_the_owners_wish_does_not_overwrite_it(guest):
    shut_down_inside(guest)
    power(guest, "poweroff")
    power(guest, "poweron")
    guest.run(guest.home.report)
    assert Instance.objects.get(pk=guest.instance.pk).power == "on"
    guest.settle()
    guest.run(node_objects.run)
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_pw_1_a_shutdown_before_a_change_of_another_kind_still_counts(guest):
    shut_down_inside(guest)
    guest.ask(interface_plug.request, guest.caller, guest.instance, NewInterface(network="net"))
    guest.run(guest.home.report)
    assert Instance.objects.get(pk=guest.instance.pk).power == "off"


def test_pw_1_a_guest_that_runs_again_has_not_shut_down(guest):
    guest.home.host.end_domain(str(guest.instance.pk), "guest")
    guest.run(guest.home.report, with_inventory=True)
    guest.run(node_objects.run)
    guest.settle()
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"
    guest.home.host.events.put(DomainEvent(instance=str(guest.instance.pk), cause="guest"))
    notice(guest)
    assert guest.home.findings.powered_off == {}


def test_pw_2_a_guest_whose_disk_failed_stays_paused_in_error_and_is_kept(guest):
    identity = str(guest.instance.pk)
    guest.home.host.suspend_domain(identity)
    while not guest.home.host.events.empty():
        guest.home.host.events.get()
    guest.home.host.events.put(DomainEvent(instance=identity, cause="disk_error"))
    notice(guest)
    for _ in range(3):
        guest.run(guest.home.report, with_inventory=True)
        guest.run(node_objects.run)
        guest.settle()
    row = Instance.objects.get(pk=guest.instance.pk)
    assert (row.state, row.observed_power) == ("error", "paused")
    assert "disk failed on node" in row.error_message
    told = EventObject.objects.filter(object_uuid=row.pk).values_list("event_uuid", flat=True)
    assert Event.objects.filter(message=row.error_message, pk__in=list(told)).count() == 1
    assert guest.home.host.domain(identity).power == "paused"
    assert set(guest.home.host.disks(identity)) == {"vda"}


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

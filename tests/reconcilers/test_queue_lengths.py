"""queue_lengths: what is open is counted, and what waits for long is told with its reason, once."""

from prometheus_client import REGISTRY

from sftasks.operations import instance_power
from sftasks.reconcilers import queue_lengths
from sfweb.models import Event, EventObject, Operation
from sfweb.models.fields import FromNow


def power(guest, verb: str) -> Operation:
    return guest.ask(instance_power.request, guest.caller, guest.instance, verb).operation


def test_what_is_open_is_counted_by_kind_and_state_and_the_oldest_by_priority(guest):
    running, waiting = power(guest, "poweroff"), power(guest, "poweron")
    Operation.objects.filter(pk=waiting.pk).update(created_at=FromNow(-700))
    assert queue_lengths.run()["open"] == 2
    for state in ("running", "waiting"):
        assert REGISTRY.get_sample_value("operations_open", {"kind": "instance_power", "state": state}) == 1
    oldest = REGISTRY.get_sample_value("operations_oldest_seconds", {"priority": str(running.priority)})
    assert 700 <= oldest < 760
    guest.settle()
    assert queue_lengths.run() == {"open": 0, "told": 0}
    assert REGISTRY.get_sample_value("operations_open", {"kind": "instance_power", "state": "running"}) is None


def test_qp_2_an_operation_that_waits_for_long_says_why_on_all_that_it_is_about_and_once(guest):
    running, waiting = power(guest, "poweroff"), power(guest, "poweron")
    Operation.objects.filter(pk__in=[running.pk, waiting.pk]).update(created_at=FromNow(-301))
    assert queue_lengths.run()["told"] == 1, "the one whose step was sent is at work"
    told = Event.objects.get(message__startswith=queue_lengths.TOLD)
    assert told.extra["holder"]["uuid"] == str(running.pk)
    assert told.message.endswith("UTC") and str(running.pk) in told.message
    about = set(EventObject.objects.filter(event_uuid=told.pk).values_list("object_type", flat=True))
    assert about >= {"operation", "instance"}
    assert queue_lengths.run()["told"] == 0


def test_ro_12_one_that_cannot_be_explained_keeps_no_other_from_being_told(guest, monkeypatch):
    waiting = [power(guest, "poweroff"), power(guest, "poweron")]
    Operation.objects.filter(pk__in=[row.pk for row in waiting]).update(created_at=FromNow(-301))
    broken = Operation.objects.create(kind="network_delete", object_key="network:none", created_at=FromNow(-400))
    Operation.objects.filter(pk=broken.pk).update(created_at=FromNow(-400))
    assert queue_lengths.run()["told"] == 1

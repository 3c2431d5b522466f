"""Batches of events that a node reports: acknowledged, once each whatever is sent again (EV-2, EV-3)."""

import uuid

from nodeagent.wire import NodeEvent
from sfweb.models import Event, EventObject


def test_ev_2_a_batch_whose_answer_was_lost_is_stored_once(guest):
    home = guest.home
    for number in range(3):
        home.journal.notice(NodeEvent(uuid=str(uuid.uuid4()), type="status", message=f"batch {number}", age=0.0))
    kept = home.journal.forget_events
    home.journal.forget_events = lambda _: None
    guest.run(home.report)
    home.journal.forget_events = kept
    assert len(home.journal.events()) == 3
    guest.run(home.report)
    assert home.journal.events() == []
    told = Event.objects.filter(message__startswith="batch")
    assert sorted(told.values_list("message", flat=True)) == ["batch 0", "batch 1", "batch 2"]
    assert EventObject.objects.filter(event_uuid__in=told.values("pk")).count() == 3


def test_ev_3_an_event_and_what_it_is_about_come_together(guest):
    home, instance = guest.home, str(guest.instance.pk)
    home.journal.notice(
        NodeEvent(
            uuid=str(uuid.uuid4()), type="usage", message="both", age=0.0, object_type="instance", object_uuid=instance
        )
    )
    guest.run(home.report)
    row = Event.objects.get(message="both")
    named = EventObject.objects.filter(event_uuid=row.pk).values_list("object_type", "event_type")
    assert set(named) == {("node", "usage"), ("instance", "usage")}

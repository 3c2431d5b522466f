"""Batches of events that a node reports: acknowledged, once each whatever is sent again (EV-2, EV-3)."""

import uuid

from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from nodeagent import journal
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


def test_ev_3_a_batch_costs_the_same_statements_however_many_it_has(guest):
    home, costs = guest.home, []
    for number in (1, 100):
        for _ in range(number):
            instance = str(guest.instance.pk)
            home.journal.notice(
                NodeEvent(
                    uuid=str(uuid.uuid4()),
                    type="usage",
                    message="one of many",
                    age=1.0,
                    object_type="instance",
                    object_uuid=instance,
                )
            )
        with CaptureQueriesContext(connection) as asked:
            guest.run(home.report)
        costs.append(len([query for query in asked.captured_queries if "event" in query["sql"]]))
    assert Event.objects.filter(message="one of many").count() == 101
    assert costs[0] == costs[1]


def test_ev_4_how_much_waits_at_a_node_and_how_much_was_lost_can_be_watched(guest, monkeypatch):
    home = guest.home
    monkeypatch.setattr(journal, "MAX_EVENTS", 2)
    for number in range(5):
        home.journal.notice(NodeEvent(uuid=str(uuid.uuid4()), type="status", message=f"{number}", age=0.0))
    guest.run(home.report)
    told = {"node": home.name}
    assert REGISTRY.get_sample_value("eventlog_spool_depth", told) == 2
    assert REGISTRY.get_sample_value("eventlog_spool_dropped_total", told) == 3

"""prune_events, and what a hard delete takes along: events are kept for as long as their type is (EV-9 to EV-16)."""

import urllib.request
import uuid

import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY

from lab.plane import free_port
from sftasks import schedule, tasks
from sftasks.reconcilers import hard_deletes, prune_events
from sfweb.domain import event_retention
from sfweb.domain.event_pages import events_of
from sfweb.domain.events import record
from sfweb.models import Duty, Event, EventObject, Node, Operation
from sfweb.models.event import EVENT_TYPES
from sfweb.models.fields import FromNow, UtcNow

pytestmark = pytest.mark.django_db
DAY = 86400.0
KEPT_DAYS = {
    "audit": 90,
    "mutate": 90,
    "health": 90,
    "historic": 90,
    "usage": 30,
    "prune": 30,
    "status": 7,
    "resources": 7,
}


def event(kind: str, age: float, *objects: tuple[str, uuid.UUID]) -> None:
    record(kind, f"{kind} of {age:.0f} s", objects or [("instance", uuid.uuid4())])
    newest = Event.objects.order_by("-at").first()
    for rows, key in ((Event.objects, "pk"), (EventObject.objects, "event_uuid")):
        rows.filter(**{key: newest.pk}).update(at=FromNow(-age))


def messages(kind: str, owner: uuid.UUID) -> list[str]:
    return [row.message for row in events_of(kind, owner, kind=None, limit=100, before=None)]


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_ev_9_each_type_is_kept_for_its_time(kind: str):
    event(kind, KEPT_DAYS[kind] * DAY + 60)
    event(kind, KEPT_DAYS[kind] * DAY - 60)
    before = metric("database_events_pruned_total", event_type=kind)
    assert prune_events.run() == {"pruned": 1, "unfinished": 0}
    assert Event.objects.count() == EventObject.objects.count() == 1
    assert metric("database_events_pruned_total", event_type=kind) == before + 1, "EV-16"
    assert prune_events.run()["pruned"] == 0


def test_ev_18_what_is_told_of_a_missing_node_outlives_the_longest_outage(served):
    Node.objects.filter(name="node1").update(state="missing", last_seen=FromNow(-200 * DAY))
    event("health", 199 * DAY)
    event("health", 201 * DAY)
    prune_events.run()
    told = Event.objects.filter(message__startswith="health of")
    assert [row.message for row in told] == [f"health of {199 * DAY:.0f} s"]
    Node.objects.filter(name="node1").update(state="deleted")
    prune_events.run()
    assert not told.all()


def test_ev_9_minus_one_keeps_for_ever(settings):
    settings.EVENT_KEEP_SECONDS = {**settings.EVENT_KEEP_SECONDS, "audit": -1.0}
    event("audit", 4000 * DAY)
    assert prune_events.run()["pruned"] == 0


def test_ev_11_a_run_is_bounded_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(event_retention, "PAGE", 2)
    monkeypatch.setattr(prune_events, "PAGES", 2)
    for number in range(6):
        event("status", (30 + number) * DAY)
    assert prune_events.run() == {"pruned": 4, "unfinished": 1}
    assert [row.message for row in Event.objects.order_by("at")] == [f"status of {n * DAY:.0f} s" for n in (31, 30)]
    assert prune_events.run() == {"pruned": 2, "unfinished": 0}
    assert not Event.objects.exists()


def test_ev_12_a_prune_that_fails_says_so(monkeypatch):
    def times_out(*_):
        raise OperationalError(1205, "Lock wait timeout exceeded")

    monkeypatch.setattr(event_retention, "prune_page", times_out)
    Duty.objects.create(name="prune_events", next_run_at=UtcNow())
    with pytest.raises(OperationalError):
        schedule.run("prune_events")
    duty = Duty.objects.get(name="prune_events")
    assert "Lock wait timeout" in duty.last_error
    assert not duty.last_result


def test_ev_10_ev_14_an_event_of_several_objects_stays_until_the_last_of_them_is_gone():
    first, second = uuid.uuid4(), uuid.uuid4()
    record("audit", "about both", [("instance", first), ("network", second)])
    assert event_retention.forget("instance", [first], 1)
    assert (messages("instance", first), messages("network", second)) == ([], ["about both"])
    before = metric("database_orphan_events_pruned_total")
    assert event_retention.forget("network", [second], 1)
    assert not Event.objects.exists()
    assert metric("database_orphan_events_pruned_total") == before + 1


def test_ev_14_forgetting_goes_page_by_page(monkeypatch):
    monkeypatch.setattr(event_retention, "PAGE", 2)
    owner = uuid.uuid4()
    for number in range(5):
        record("audit", f"m{number}", [("instance", owner)])
    assert not event_retention.forget("instance", [owner], 2)
    assert len(messages("instance", owner)) == 1
    assert event_retention.forget("instance", [owner], 1)


def test_ev_6_one_event_stands_once_and_is_in_every_objects_stream():
    objects = [("instance", uuid.uuid4()), ("network", uuid.uuid4()), ("node", uuid.uuid4())]
    record("audit", "once", objects)
    assert (Event.objects.count(), EventObject.objects.count()) == (1, 3)
    assert all(messages(*one) == ["once"] for one in objects)


def test_ev_15_an_operation_that_ended_tells_its_story_for_seven_days(guest):
    ended = Operation.objects.filter(kind="instance_create", state="succeeded").get()
    told = messages("operation", ended.pk)
    assert "instance_create succeeded" in told and "instance_create requested" in told
    Operation.objects.filter(pk=ended.pk).update(finished_at=FromNow(-6 * DAY))
    guest.run(hard_deletes.run)
    assert messages("operation", ended.pk) == told
    Operation.objects.update(finished_at=FromNow(-8 * DAY))
    for _ in range(5):
        guest.run(hard_deletes.run)
    assert messages("operation", ended.pk) == []
    assert "instance_create succeeded" in messages("instance", guest.instance.pk), "CO-14: the target still tells it"


def test_ev_16_what_is_written_is_counted_and_how_many_there_are_is_told(django_capture_on_commit_callbacks):
    before = metric("database_events_inserted_total", event_type="usage")
    with django_capture_on_commit_callbacks(execute=True):
        record("usage", "m", [("instance", uuid.uuid4())])
    assert metric("database_events_inserted_total", event_type="usage") == before + 1
    prune_events.run()
    assert metric("database_events_rows") >= 0


def test_ev_16_the_control_worker_serves_its_metrics(settings):
    settings.METRICS_PORT, settings.METRICS_ADDRESS = free_port(), "127.0.0.1"
    tasks._serve_metrics()
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.METRICS_PORT}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    for name in ("events_rows", "events_inserted_total", "events_pruned_total", "orphan_events_pruned_total"):
        assert f"database_{name}" in text

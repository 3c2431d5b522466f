"""node_states: silence is noticed by the database's clock, and our own outage is none of the nodes' silence."""

from sftasks import schedule
from sftasks.reconcilers import node_states
from sfweb.domain import node_life
from sfweb.models import CarrierLease, Duty, Event, EventObject, Node
from sfweb.models.fields import FromNow


def missing_now(cluster):
    return cluster.run(node_states.run)["missing"]


def run_duty():
    Duty.objects.update(next_run_at=FromNow(-1))
    return schedule.run("node_states")["missing"]


def test_en_12_two_minutes_of_silence_make_a_node_missing(served):
    Node.objects.filter(name="node1").update(last_seen=FromNow(-119))
    assert missing_now(served) == 0
    Node.objects.filter(name="node1").update(last_seen=FromNow(-121))
    assert missing_now(served) == 1
    assert Node.objects.get(name="node1").state == "missing"
    assert Event.objects.filter(message="node is missing").count() == 1


def test_ev_18_the_event_says_what_goes_without_the_node_and_owners_read_only_of_their_own(guest):
    node, instance = guest.instance.node, guest.instance
    lease = CarrierLease.objects.first()
    CarrierLease.objects.update(node=node)
    Node.objects.filter(pk=node.pk).update(last_seen=FromNow(-500))
    missing_now(guest)
    told = Event.objects.get(message="node is missing")
    assert (told.type, told.extra["instances"]) == ("health", [str(instance.pk)])
    assert told.extra["networks"] == [str(lease.network_id)]
    readers = EventObject.objects.filter(event_uuid=told.pk)
    assert [(row.object_type, row.object_uuid) for row in readers] == [("node", node.pk)]
    owners = EventObject.objects.get(object_type="instance", object_uuid=instance.pk, event_type="health")
    assert Event.objects.get(pk=owners.event_uuid).extra is None


def test_it_is_told_once(served):
    Node.objects.filter(name="node1").update(last_seen=FromNow(-500))
    missing_now(served)
    assert missing_now(served) == 0


def test_en_12_after_an_outage_of_our_own_nobody_is_missing_before_he_had_time_to_report(served):
    Duty.objects.create(name="node_states", next_run_at=FromNow(-1))
    assert run_duty() == 0
    result = Duty.objects.get().last_result
    Duty.objects.update(last_result={**result, "looked_at": result["looked_at"] - 300})
    Node.objects.update(last_seen=FromNow(-310))
    assert run_duty() == 0, "nobody could report"
    assert run_duty() == 0, "nor is one look later"
    result = Duty.objects.get().last_result
    Duty.objects.update(last_result={**result, "marks_from": result["looked_at"] - 1})
    served.run(served.nodes[0].report)
    assert run_duty() == len(served.nodes) - 1


def test_en_12_a_node_that_reports_in_the_moment_is_not_missing(served, monkeypatch):
    Node.objects.update(last_seen=FromNow(-500))
    genuine = node_life._mark_missing

    def mark(node):
        Node.objects.filter(name="node1").update(last_seen=FromNow(0))
        Node.objects.filter(name="node2").update(state="deleted")
        return genuine(node)

    monkeypatch.setattr(node_life, "_mark_missing", mark)
    assert missing_now(served) == 0
    assert Node.objects.get(name="node1").state == "created"


def test_when_nobody_reports_it_was_the_control_plane_and_agents_are_listened_for_first(served, monkeypatch):
    """A database that was away for three minutes must not make running creates unwind for missing nodes."""

    def listen():
        served.run(served.nodes[0].report)

    monkeypatch.setattr(node_states, "_listen", listen)
    Node.objects.update(last_seen=FromNow(-500))
    assert missing_now(served) == 1
    assert {row.name: row.state for row in Node.objects.all()} == {"node1": "created", "node2": "missing"}

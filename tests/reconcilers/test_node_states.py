"""node_states: silence is noticed by the database's clock."""

from sftasks.reconcilers import node_states
from sfweb.models import Event, Node
from sfweb.models.fields import FromNow


def test_en_12_two_minutes_of_silence_make_a_node_missing(served):
    Node.objects.filter(name="node1").update(last_seen=FromNow(-119))
    assert served.run(node_states.run) == {"missing": 0}
    Node.objects.filter(name="node1").update(last_seen=FromNow(-121))
    assert served.run(node_states.run) == {"missing": 1}
    assert Node.objects.get(name="node1").state == "missing"
    assert Event.objects.filter(message="node is missing").count() == 1


def test_it_is_told_once(served):
    Node.objects.filter(name="node1").update(last_seen=FromNow(-500))
    served.run(node_states.run)
    assert served.run(node_states.run) == {"missing": 0}


def test_when_nobody_reports_it_was_the_control_plane_and_agents_are_listened_for_first(served, monkeypatch):
    """A database that was away for three minutes must not make running creates unwind for missing nodes."""

    def listen():
        served.run(served.nodes[0].report)

    monkeypatch.setattr(node_states, "_listen", listen)
    Node.objects.update(last_seen=FromNow(-500))
    assert served.run(node_states.run) == {"missing": 1}
    assert {row.name: row.state for row in Node.objects.all()} == {"node1": "created", "node2": "missing"}

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

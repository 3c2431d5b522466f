"""node_drains: one pass over the drains there are; see tests/operations/test_node_drain.py for what comes of it."""

from sftasks.operations import instance_migrate, instance_power, node_drain
from sftasks.reconcilers import node_drains
from sfweb.models import Operation


def test_nothing_to_do(served):
    assert served.run(node_drains.run) == {"asked": 0}


def test_a_pass_asks_once_for_each_guest(guest):
    guest.ask(node_drain.request, guest.caller, guest.home.row)
    assert guest.run(node_drains.run) == {"asked": 1}
    assert guest.run(node_drains.run) == {"asked": 0}
    move = Operation.objects.get(kind="instance_migrate")
    assert move.requested_by == str(guest.caller)


def test_what_is_busy_is_waited_for(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "pause")
    accepted = guest.ask(node_drain.request, guest.caller, guest.home.row)
    assert guest.run(node_drains.run) == {"asked": 0}
    assert Operation.objects.get(pk=accepted.operation.pk).params["left"] == {}
    guest.settle(rounds=10)
    assert guest.run(node_drains.run) == {"asked": 1}


def test_ro_12_one_drain_that_cannot_go_on_does_not_keep_the_others(guest, monkeypatch):
    for node in guest.nodes:
        guest.ask(node_drain.request, guest.caller, node.row)
    genuine = instance_migrate.request
    monkeypatch.setattr(instance_migrate, "request", lambda *arguments: 1 / 0)
    assert guest.run(node_drains.run) == {"asked": 0}
    monkeypatch.setattr(instance_migrate, "request", genuine)
    assert Operation.objects.filter(kind="node_drain", state="waiting").count() == 1

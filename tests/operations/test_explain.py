"""Why an operation waits: each cause in one sentence and as data, from the rows alone."""

from typing import Any

import pytest

from nodeagent.wire import Outcome
from sftasks import engine, explain, turns
from sftasks.operations import instance_create, instance_power, network_delete
from sfweb.models import Network, Node, Operation, Step
from sfweb.models.fields import FromNow
from tests.factories import new_instance


def why(operation: Any) -> dict[str, Any]:
    return explain.why(Operation.objects.get(pk=operation.pk))


def power(guest, verb: str) -> Operation:
    return guest.ask(instance_power.request, guest.caller, guest.instance, verb).operation


def open_step(operation: Operation) -> Step:
    return Step.objects.get(operation=operation, state__in=("planned", "sent"))


def test_a_step_that_a_node_works_on(guest):
    running = power(guest, "poweroff")
    told, step = why(running), open_step(running)
    assert told["waits_for"] == "step"
    assert told["sentence"].startswith(f"waits for ensure_instance on {guest.instance.node.name}, attempt 1, sent at ")
    assert told["step"] == {
        "uuid": str(step.pk),
        "action": "ensure_instance",
        "node": guest.instance.node.name,
        "object": f"instance:{guest.instance.pk}",
        "state": "sent",
        "attempt": 1,
        "sent": step.sent_at.timestamp(),
        "deadline": step.deadline.timestamp(),
        "node_last_seen": step.node.last_seen.timestamp(),
    }
    guest.settle()
    assert why(running) == {"sentence": "succeeded", "waits_for": "ended", "code": ""}


def test_a_key_that_another_holds_and_what_that_one_waits_for(guest):
    running, waiting = power(guest, "poweroff"), power(guest, "poweron")
    told = why(waiting)
    held = Operation.objects.get(pk=running.pk)
    assert (told["waits_for"], told["key"]) == ("key", f"instance:{guest.instance.pk}")
    assert told["holder"] == {
        "uuid": str(running.pk),
        "kind": "instance_power",
        "state": "running",
        "since": held.started_at.timestamp(),
    }
    assert f"{running.pk} works on since" in told["sentence"]
    assert told["next"]["waits_for"] == "step"


def test_a_dependency_by_name_and_why_that_one_waits(guest):
    create = guest.ask(instance_create.request, guest.caller, new_instance("other", "tenant", "net")).operation
    told = why(create)
    needed = Operation.objects.get(pk=told["dependency"])
    assert told["waits_for"] == "dependency"
    assert told["sentence"] == f"waits for {needed.kind} {needed.pk}, which is {needed.state}"
    assert told["next"]["sentence"]


def test_what_the_kind_itself_waits_for(guest):
    network = Network.objects.get(name="net")
    gone = guest.ask(network_delete.request, guest.caller, network).operation
    assert why(gone) == {"sentence": "1 interfaces still use the network", "waits_for": "object"}


def test_a_retry_with_its_time_and_its_reason(guest):
    running = power(guest, "poweroff")
    step = open_step(running)
    outcome = Outcome(token=step.token, kind="retry", code="disk.slow", message="it hangs", after=30.0)
    guest.run(engine.settle, step.node_id, outcome)
    told = why(running)
    assert (told["waits_for"], told["because"]) == ("retry", "retry: disk.slow it hangs")
    assert told["at"] == open_step(running).not_before.timestamp()
    assert "next attempt at" in told["sentence"] and "disk.slow" in told["sentence"]


def test_a_node_that_is_silent_before_and_after_the_step_was_sent(guest):
    sent = power(guest, "poweroff")
    Node.objects.filter(pk=guest.instance.node_id).update(last_seen=FromNow(-100))
    told = why(sent)
    assert (told["waits_for"], told["silent"]) == ("node", True)
    assert "; node silent since" in told["sentence"]
    Step.objects.filter(operation=sent).update(state="planned", token=None)
    told = why(sent)
    assert (told["waits_for"], told["silent"]) == ("node", True)
    assert told["last_seen"] == Node.objects.get(pk=guest.instance.node_id).last_seen.timestamp()


def test_a_queue_that_is_full(guest, monkeypatch):
    monkeypatch.setattr(turns, "THREADS", {False: 0, True: 0})
    told = why(power(guest, "poweroff"))
    assert told["waits_for"] == "room"
    assert told["sentence"].endswith("the node's queue is full")


@pytest.mark.parametrize(("code", "message"), [("node.missing", "a node that this needs is missing"), ("boom", "")])
def test_how_it_ended(guest, code: str, message: str):
    running = power(guest, "poweroff")
    Operation.objects.filter(pk=running.pk).update(state="failed", error_code=code, error_message=message)
    assert why(running) == {"sentence": f"failed: {code} {message}".rstrip(), "waits_for": "ended", "code": code}

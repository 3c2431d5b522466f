"""One thing that is broken keeps no other back: an outcome, a step, a row that nobody expected (RO-12)."""

from sftasks import dispatch, outcomes
from sftasks.operations import instance_create, instance_power
from sfweb.models import Instance, Operation, Step
from sfweb.models.fields import FromNow
from tests.factories import new_instance


def create(cluster, name):
    return cluster.ask(instance_create.request, cluster.caller, new_instance(name, "tenant", "net"))


def test_an_outcome_that_cannot_be_settled_blocks_neither_the_report_nor_the_others(served, monkeypatch):
    """EN-4: it is not acknowledged, so it comes again; everything else of the report is taken and answered."""
    poisoned, good = create(served, "poisoned"), create(served, "good")
    served.until(poisoned.operation, "running")
    genuine = outcomes.apply

    def apply(operation, step, outcome):
        if operation.pk == poisoned.operation.pk:
            raise ValueError("nobody expected this")
        return genuine(operation, step, outcome)

    monkeypatch.setattr(outcomes, "apply", apply)
    served.settle()
    assert Operation.objects.get(pk=good.operation.pk).state == "succeeded"
    assert Operation.objects.get(pk=poisoned.operation.pk).state == "running"
    monkeypatch.setattr(outcomes, "apply", genuine)
    served.settle()
    assert Operation.objects.get(pk=poisoned.operation.pk).state == "succeeded"
    assert served.findings() == []


def test_a_step_that_cannot_be_rendered_waits_with_its_reason_and_others_go(guest, monkeypatch):
    """Rule 8: the node's reports go on being answered."""
    genuine = dispatch._render

    def render(step):
        if step.object_uuid == guest.instance.pk:
            raise KeyError("video")
        return genuine(step)

    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    Step.objects.filter(operation=accepted.operation).update(state="planned", token=None)
    monkeypatch.setattr(dispatch, "_render", render)
    other = create(guest, "other")
    guest.settle(rounds=20)
    assert Operation.objects.get(pk=other.operation.pk).state == "succeeded"
    step = Step.objects.get(operation=accepted.operation)
    assert step.reason.startswith("cannot be sent: KeyError")
    monkeypatch.setattr(dispatch, "_render", genuine)
    Step.objects.update(not_before=FromNow(-1))
    guest.settle()
    assert Instance.objects.get(pk=guest.instance.pk).observed_power == "off"

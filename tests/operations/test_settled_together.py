"""Outcomes that a node posts together are settled by one transaction, each as if it had come alone (EN-1, EN-6, SE-4)."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nodeagent.wire import Kind, Outcome
from sftasks import dispatch, engine
from sftasks.operation import PlannedStep
from sfweb.internal import intake
from sfweb.models import Event, Operation, Step
from tests.factories import make_namespace


class Chains:
    """Operations of two stages that run on one node, each with its first stage's steps in flight."""

    def __init__(self, guest):
        self.guest, self.node = guest, guest.home.pk

    def make(self, *nodes, namespace=None, stages=2):
        """An operation with a step on each of the nodes in its first stage, then one on the first of them."""
        operation = Operation.objects.create(
            kind="instance_reboot", object_key=str(uuid.uuid4()), state="running", namespace_id=namespace
        )
        operation.refresh_from_db()
        first = [self._reboot(node) for node in nodes]
        dispatch.plan(operation, {0: first, **{stage: [self._reboot(nodes[0])] for stage in range(1, stages)}})
        for step in Step.objects.filter(operation=operation, stage=0):
            Step.objects.filter(pk=step.pk).update(state="sent", token=str(uuid.uuid4()))
        return operation

    def _reboot(self, node):
        return PlannedStep(
            node=node, action="reboot_instance", object_type="instance", object_uuid=self.guest.instance.pk
        )

    def outcomes(self, *operations, kind=Kind.DONE):
        steps = Step.objects.filter(operation__in=operations, state="sent")
        return [Outcome(token=step.token, kind=kind, code="") for step in steps]

    def settle(self, *outcomes):
        return self.guest.run(engine.settle, self.node, *outcomes)


@pytest.fixture
def chains(guest):
    return Chains(guest)


def stages(*operations):
    return [Operation.objects.get(pk=operation.pk).stage for operation in operations]


def test_en_6_each_operation_goes_on_and_its_next_step_is_rung_for_once(chains):
    made = [chains.make(chains.node) for _ in range(4)]
    chains.guest.home.letters.clear()
    assert chains.settle(*chains.outcomes(*made)) == (4, 4)
    assert stages(*made) == [1] * 4
    rung = [message.token for message in chains.guest.home.letters]
    assert sorted(rung) == sorted(Step.objects.filter(operation__in=made, state="sent").values_list("token", flat=True))


def test_en_6_two_steps_of_one_operation_bring_it_on_once(chains):
    operation = chains.make(chains.node, chains.node)
    both = chains.outcomes(operation)
    assert chains.settle(*both) == (2, 1)
    assert stages(operation) == [1]
    assert Step.objects.filter(operation=operation, state="sent").count() == 1


def test_en_6_one_of_two_does_not_bring_it_on(chains):
    operation = chains.make(chains.node, chains.node)
    assert chains.settle(chains.outcomes(operation)[0]) == (1, 0)
    assert stages(operation) == [0]


def test_en_9_one_that_is_to_be_tried_again_waits_and_the_others_go_on(chains):
    """Its time to wait is in the row alone: what was read before says nothing of it."""
    again, done = chains.make(chains.node, chains.node), chains.make(chains.node)
    first, second = chains.outcomes(again)
    told = [first, Outcome(token=second.token, kind=Kind.RETRY, code="libvirt.busy"), *chains.outcomes(done)]
    assert chains.settle(*told).taken == 3
    assert stages(again, done) == [0, 1]
    waiting = Step.objects.get(operation=again, state="planned", stage=0)
    assert (waiting.failures, waiting.token, waiting.not_before is not None) == (1, None, True)


def test_en_9_one_that_fails_ends_its_operation_alone(chains):
    failed, done = chains.make(chains.node), chains.make(chains.node)
    chains.settle(*chains.outcomes(failed, kind=Kind.UNKNOWN), *chains.outcomes(done))
    assert [Operation.objects.get(pk=row.pk).state for row in (failed, done)] == ["failed", "running"]


def test_en_1_doubled_and_late_ones_count_once(chains):
    operation, other = chains.make(chains.node), chains.make(chains.node)
    (once,) = chains.outcomes(operation)
    assert chains.settle(once, once, *chains.outcomes(other)).taken == 2
    assert chains.settle(once, Outcome(token=str(uuid.uuid4()), kind=Kind.DONE)).taken == 0
    assert stages(operation, other) == [1, 1]
    assert Event.objects.filter(message="late outcome ignored").count() == 1


def test_se_4_a_node_cannot_settle_anothers_step_beside_its_own(chains):
    """Both belong to one operation, whose steps are read together."""
    stranger = next(node for node in chains.guest.nodes if node.pk != chains.node)
    operation = chains.make(chains.node, stranger.pk)
    assert chains.settle(*chains.outcomes(operation)).taken == 1
    assert stages(operation) == [0]
    assert Step.objects.get(operation=operation, state="sent").node_id == stranger.pk
    assert not Event.objects.filter(message="late outcome ignored").exists()


def test_en_10_a_place_that_no_next_stage_takes_goes_to_who_waits(chains):
    loud, quiet = (make_namespace(name).namespace_uuid for name in ("loud", "quiet"))
    flying = [chains.make(chains.node, namespace=loud, stages=1) for _ in range(7)]
    flying += [chains.make(chains.node, namespace=None, stages=1) for _ in range(9)]
    waiting = chains.make(chains.node, namespace=quiet)
    Step.objects.filter(operation=waiting, stage=0).update(state="planned", token=None)
    row = chains.guest.home.row
    answer = chains.guest.run(
        intake.take_outcomes, row, row.credential.incarnation, chains.outcomes(flying[0], flying[8])
    )
    assert [message.token for message in answer.steps] == [Step.objects.get(operation=waiting, state="sent").token]


def test_more_outcomes_cost_few_statements_more(chains):
    """Each three of its own: the step's end, the stage, the next step's start; and what it is rendered from."""

    def cost(number):
        outcomes = chains.outcomes(*[chains.make(chains.node) for _ in range(number)])
        with CaptureQueriesContext(connection) as captured:
            chains.settle(*outcomes)
        Step.objects.filter(state="sent").update(state="done")
        return len(captured)

    assert cost(6) - cost(1) <= 5 * 5

"""A whole cluster in one process: the real engine, intake, journal and performer, hosts in memory, messages in lists.

Nothing sleeps: tests decide when a message arrives, is lost or comes twice, when a node reports, and how much time passes
between (rows are made older). The three checks of the operation harness at the end serve every operation's test.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from django.db import transaction
from django.test import TestCase

from nodeagent.action import actions
from nodeagent.config import Identity
from nodeagent.duties import inventory as inventory_duty
from nodeagent.fake_host import FakeHost
from nodeagent.host import Refused
from nodeagent.journal import Journal
from nodeagent.performer import Performer
from nodeagent.reporter import Findings, Surroundings
from nodeagent.wire import Outcome, Report, ReportAnswer, StepMessage
from sftasks import celery, sweep
from sftasks.operation import Accepted
from sftasks.plans import guests
from sfweb.domain import audit, enrolment
from sfweb.internal import intake, vouchers
from sfweb.models import Node, Operation, Step
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION

LONG_AGO = 3600.0
ROUNDS = 60


class FakeNode:
    """One node: its row, its machine in memory, its journal; `letters` are Celery messages that are on their way."""

    def __init__(self, directory: Path, name: str, address: str, capacity: dict[str, int]) -> None:
        rest = enrolment.enrol(name)
        node, secret = rest.rsplit(":", 2)[1:]
        document = enrolment.exchange(uuid.UUID(node), secret)
        self.identity = Identity(**{**document, "control": tuple(document["control"])})
        self.pk = uuid.UUID(node)
        self.name = name
        self.address = address
        self.directory = directory / name
        self.host = FakeHost(**capacity)
        self.letters: list[StepMessage] = []
        self.outbox: list[Outcome] = []
        self.copies = 1
        self.findings = Findings()
        self.restart()

    @property
    def row(self) -> Node:
        return Node.objects.select_related("credential").get(pk=self.pk)

    def restart(self) -> None:
        """The agent's processes end and start again: what the journal does not know is forgotten."""
        if hasattr(self, "journal"):
            self.journal.close()
        self.journal = Journal(self.directory / "journal.sqlite")
        self.outbox = []
        self.performer = Performer(
            self.identity,
            self.journal,
            self.host,
            self,
            self.directory / "locks",
            self._hear,  # type: ignore[arg-type]
        )
        for bulk in (False, True):
            self.performer.recover(bulk)

    def _hear(self, outcome: Outcome) -> None:
        self.outbox += [outcome] * self.copies

    def secrets(self, token: str) -> dict[str, object]:
        return vouchers.step_secrets(self.row, uuid.UUID(token))

    def ticket(self, token: str, blob: str, peer: str) -> dict[str, object]:
        return vouchers.blob_ticket(self.row, token, blob, peer)

    def instance_ticket(self, token: str, instance: str, peer: str) -> dict[str, object]:
        return vouchers.instance_ticket(self.row, token, instance, peer)

    def work(self) -> int:
        """Perform the letters that have arrived and what the journal's inbox has."""
        letters, self.letters = self.letters, []
        inbox = [message for bulk in (False, True) for message in self.journal.inbox(bulk, retry_after=-1)]
        for message in [*letters, *inbox]:
            self.performer.perform(message)
        return len(letters) + len(inbox)

    def tell(self) -> int:
        """Post the outcomes that are ready, as the poster does."""
        told, self.outbox = self.outbox, []
        if told:
            self.take(intake.take_outcomes(self.row, self.journal.incarnation, told))
        return len(told)

    def report(self, *, with_inventory: bool = False) -> ReportAnswer:
        """One report, as the reporter builds it."""
        self.outbox = []
        if with_inventory:
            around = Surroundings(
                config=None,
                identity=self.identity,
                journal=self.journal,
                host=self.host,
                findings=self.findings,  # type: ignore[arg-type]
            )
            inventory_duty.run(around)
        offered = self.host.capacity()
        spooled, dropped = self.journal.spool()
        answer = intake.take_report(
            self.row,
            Report(
                incarnation=self.journal.incarnation,
                clock=time.time(),
                actions={name: action.version for name, action in actions().items()},
                held=tuple(self.journal.held()),
                outcomes=tuple(self.journal.outcomes()),
                events=tuple(self.journal.events()),
                facts={
                    "capacity": {"cpus": offered.cpus, "memory_mb": offered.memory_mb, "disk_gb": offered.disk_gb},
                    "mesh_address": self.address,
                    "storage": self.host.probe_storage(),
                },
                inventory=self.findings.inventory,
                power_off_by_guest=tuple(self.findings.powered_off),
                power_off_generations=dict(self.findings.powered_off),
                disk_errors=tuple(self.findings.disk_errors),
                spooled=spooled,
                dropped=dropped,
            ),
        )
        self.findings.inventory = None
        self.findings.powered_off.clear()
        self.findings.disk_errors.clear()
        self.take(answer)
        return answer

    def take(self, answer: ReportAnswer) -> None:
        self.journal.acknowledge(answer.acknowledged)
        self.journal.withdraw(answer.closed)
        self.journal.cancel(answer.cancel)
        self.journal.forget_events(answer.events)
        for message in answer.steps:
            self.journal.receive(message, actions()[message.action].bulk)
        self.journal.count_answer()


class Cluster:
    """Nodes and the post between them. `post` may be replaced to lose or double messages."""

    def __init__(self, directory: Path, monkeypatch, nodes: int = 1, **capacity: int) -> None:
        self.directory = directory
        self.post: Callable[[StepMessage], list[StepMessage]] = lambda message: [message]
        monkeypatch.setattr(celery, "ring", self._ring)
        monkeypatch.setattr(guests, "PATIENT_SECONDS", 0.2)  # nothing sleeps here, and nobody hurries in these guests
        self.nodes = [
            FakeNode(directory, f"node{number}", f"198.18.0.{10 + number}", capacity) for number in range(1, nodes + 1)
        ]
        for node in self.nodes:
            node.host.neighbours = {other.address: other.host for other in self.nodes if other is not node}
        self._by_pk = {str(node.pk): node for node in self.nodes}
        for node in self.nodes:
            self.run(node.report)

    def run(self, function: Callable, *args, **kwargs):
        """Call, and run what is to happen after the commit."""
        with TestCase.captureOnCommitCallbacks(execute=True):
            return function(*args, **kwargs)

    def ask(self, request: Callable[..., Accepted], *args) -> Accepted:
        return self.run(request, *args)

    def settle(self, rounds: int = ROUNDS) -> None:
        """Work, tell, report and sweep until nothing is open, or `rounds` have passed."""
        for _ in range(rounds):
            self.forget_time()
            moved = sum(self.run(node.work) + self.run(node.tell) for node in self.nodes)
            if moved:
                continue
            if not Operation.objects.filter(state__in=OPEN_OPERATION).exists():
                return
            for node in self.nodes:
                self.run(node.report)
            self.run(sweep.sweep)

    def until(self, operation: Operation, state: str) -> None:
        """Let nodes work and tell, one call at a time, until the operation has reached `state`."""
        for _ in range(ROUNDS):
            for node in self.nodes:
                for call in (node.work, node.tell):
                    if Operation.objects.get(pk=operation.pk).state == state:
                        return
                    self.run(call)
        raise AssertionError(f"{operation.kind} never became {state}")

    def forget_time(self) -> None:
        """Let waits of steps and operations have passed."""
        Step.objects.filter(not_before__isnull=False).update(not_before=FromNow(-1))

    def lose_sent_messages(self) -> None:
        """Whatever is on its way never arrives, and the steps were sent long ago."""
        for node in self.nodes:
            node.letters.clear()
        Step.objects.filter(state="sent").update(sent_at=FromNow(-LONG_AGO))

    def findings(self) -> list[str]:
        """The audit of every node against the rows, after a fresh look."""
        for node in self.nodes:
            self.run(node.report, with_inventory=True)
        return audit.findings([node.row for node in self.nodes])

    def effects(self) -> Counter:
        return Counter((node.name, *effect) for node in self.nodes for effect in node.host.effects)

    def _ring(self, messages) -> int:
        for message, _bulk in messages:
            self._by_pk[message.node].letters += self.post(message)
        return len(messages)


Scenario = Callable[[Cluster], Accepted]


def repeats_are_harmless(cluster: Cluster, scenario: Scenario) -> Operation:
    """Every message arrives three times and every outcome is posted twice: each effect happens once, all is as wished."""
    cluster.post = lambda message: [message] * 3
    before = cluster.effects()
    accepted = scenario(cluster)
    for node in cluster.nodes:
        node.copies = 2
    cluster.settle()
    operation = Operation.objects.get(pk=accepted.operation.pk)
    twice = {effect: count for effect, count in (cluster.effects() - before).items() if count > 1}
    assert not twice, f"happened more than once: {twice}"
    assert cluster.findings() == []
    cluster.post = lambda message: [message]
    return operation


def unwinds_from_every_step(make: Callable[[], Cluster], scenario: Scenario) -> list[str]:
    """Whichever action is refused, nothing stays behind. Returns the actions that were refused, one a round."""
    refused: list[str] = []
    while True:
        before = transaction.savepoint()
        action = _refuse_one(make(), scenario, len(refused))
        transaction.savepoint_rollback(before)
        if not action:
            return refused
        refused.append(action)


def _refuse_one(cluster: Cluster, scenario: Scenario, number: int) -> str:
    """Refuse the action that is performed as the `number`-th; its name, or nothing when there were not that many."""
    calls = _RefuseAt(cluster, number)
    accepted = scenario(cluster)
    cluster.settle()
    operation = Operation.objects.get(pk=accepted.operation.pk)
    if not calls.refused:
        assert operation.state == "succeeded", operation.error_message
        return ""
    assert operation.state not in OPEN_OPERATION, f"refused {calls.refused}: {operation.state}"
    found = cluster.findings()
    assert found == [], f"refused {calls.refused}: {found}"
    return calls.refused


def repeated_undo_is_harmless(cluster: Cluster, scenario: Scenario, action: str) -> Operation:
    """`action` is refused, and every message of the way back arrives three times."""
    calls = _RefuseAt(cluster, 0, only=action)
    cluster.post = lambda message: [message] * 3
    for node in cluster.nodes:
        node.copies = 2
    accepted = scenario(cluster)
    cluster.settle()
    assert calls.refused, f"{action} was never performed"
    assert cluster.findings() == []
    return Operation.objects.get(pk=accepted.operation.pk)


class _RefuseAt:
    """Refuses the n-th request that any node performs, after its effect, with a cause that its action knows."""

    def __init__(self, cluster: Cluster, number: int, only: str = "") -> None:
        self.refused = ""
        self._left = number
        for node in cluster.nodes:
            self._wrap(node, only)

    def _wrap(self, node: FakeNode, only: str) -> None:
        genuine = node.performer._run

        def run(message: StepMessage, action) -> Outcome:
            outcome = genuine(message, action)
            if (only and message.action != only) or self.refused:
                return outcome
            if self._left == 0:
                self.refused = message.action
                error = Refused("cancelled", "by the test")
                return Outcome(token=message.token, kind="refused", code=error.code, message=str(error))
            self._left -= 1
            return outcome

        node.performer._run = run

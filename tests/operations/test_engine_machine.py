"""Random operations, crashes, losses and copies in random order: the rows stay right at every moment, and all ends well.

A hypothesis state machine drives the cluster of `tests/cluster.py`. After every move the rows must agree with each other; in
the end, when nothing fails any more, every operation must have ended, every machine must hold what the rows say, and nothing
may have happened twice. `PROVE=1` tries more and longer stories, new ones each time.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.db.models.expressions import RawSQL
from django.test import TestCase
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from nodeagent.fake_host import Crash
from nodeagent.host import Refused, Retry
from sftasks import explain, sweep
from sftasks.operations import instance_create, instance_delete, instance_power, network_create, network_delete
from sftasks.reconcilers import node_objects, node_states
from sfweb.domain import audit
from sfweb.errors import SteadyfistError
from sfweb.models import Instance, Network, Node, Operation, Step
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION
from tests.cluster import LONG_AGO, Cluster
from tests.factories import make_namespace, new_instance, new_network

PROVE = bool(os.environ.get("PROVE"))
STORIES, MOVES = (200, 60) if PROVE else (8, 30)
NODES = st.integers(0, 2)
PICK = st.integers(0, 100)
VERBS = st.sampled_from(["create_disk", "start_domain", "stop_domain", "ensure_network", "ensure_router", "fetch_blob"])
FAILURES = {
    "retry": lambda: Retry("fake.transient", "drawn"),
    "refused": lambda: Refused("disk.full", "drawn"),
    "unknown": lambda: RuntimeError("drawn"),
}
ONCE = ("create_disk", "write_config_drive", "remove_instance_files")


class Story(RuleBasedStateMachine):
    home: ClassVar[Path]
    patch: ClassVar[pytest.MonkeyPatch]
    numbers: ClassVar[Iterator[int]]

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()
        number = next(self.numbers)
        self.caller = make_namespace(f"tenant{number}")
        self.cluster = Cluster(self.home / str(number), self.patch, 3)
        self.cluster.ask(network_create.request, self.caller, self._network("net"))
        self.cluster.settle()
        self.names = itertools.count()
        self.deleted: set[Any] = set()

    def _network(self, name: str) -> Any:
        return new_network(name, self.caller.namespace)

    def _call(self, dies: bool, function: Any, *args: Any) -> Any:
        """`dies`: the process ends between its commit and all that was to follow."""
        with TestCase.captureOnCommitCallbacks(execute=not dies):
            return function(*args)

    def _wish(self, dies: bool, function: Any, *args: Any) -> None:
        try:
            self._call(dies, function, *args)
        except SteadyfistError:
            pass  # an answer, and nothing has changed

    def _instance(self, pick: int) -> Any:
        rows = list(Instance.objects.select_related("namespace").order_by("created_at", "pk"))
        return rows[pick % len(rows)] if rows else None

    @rule(dies=st.booleans())
    def create(self, dies: bool) -> None:
        if Instance.objects.exclude(state="deleted").count() < 8:
            wanted = new_instance(f"guest{next(self.names)}", self.caller.namespace, "net")
            self._wish(dies, instance_create.request, self.caller, wanted)

    @rule(pick=PICK, dies=st.booleans())
    def delete(self, pick: int, dies: bool) -> None:
        row = self._instance(pick)
        if row is not None:
            self._wish(dies, instance_delete.request, self.caller, row)

    @rule(pick=PICK, verb=st.sampled_from(["poweroff", "poweron", "pause", "unpause"]), dies=st.booleans())
    def power(self, pick: int, verb: str, dies: bool) -> None:
        row = self._instance(pick)
        if row is not None:
            self._wish(dies, instance_power.request, self.caller, row, verb)

    @rule(dies=st.booleans())
    def another_network(self, dies: bool) -> None:
        self._wish(dies, network_create.request, self.caller, self._network(f"more{next(self.names)}"))

    @rule(pick=PICK)
    def delete_network(self, pick: int) -> None:
        rows = list(Network.objects.filter(name__startswith="more").order_by("pk"))
        if rows:
            self._wish(False, network_delete.request, self.caller, rows[pick % len(rows)])

    @rule(node=NODES, dies=st.booleans())
    def work(self, node: int, dies: bool) -> None:
        self._work(self.cluster.nodes[node], dies)

    def _work(self, node: Any, dies: bool = False) -> None:
        try:
            self._call(dies, node.work)
        except Crash:
            node.restart()

    @rule(node=NODES, dies=st.booleans())
    def tell(self, node: int, dies: bool) -> None:
        self._call(dies, self.cluster.nodes[node].tell)

    @rule(node=NODES, look=st.booleans())
    def report(self, node: int, look: bool) -> None:
        self.cluster.run(lambda: self.cluster.nodes[node].report(with_inventory=look))

    @rule(node=NODES)
    def lose(self, node: int) -> None:
        self.cluster.nodes[node].letters.clear()
        Step.objects.filter(state="sent").update(sent_at=FromNow(-LONG_AGO))

    @rule(node=NODES)
    def double_and_turn_round(self, node: int) -> None:
        letters = self.cluster.nodes[node].letters
        letters[:] = [*reversed(letters), *letters]

    @rule(node=NODES)
    def restart(self, node: int) -> None:
        self.cluster.nodes[node].restart()

    @rule(node=NODES, verb=VERBS, after=st.booleans())
    def crash(self, node: int, verb: str, after: bool) -> None:
        """The agent dies in its next verb of that name, if its work has one now."""
        one = self.cluster.nodes[node]
        (one.host.crash_after if after else one.host.crash_before)(verb)
        self._work(one)
        one.host.faults.clear()

    @rule(node=NODES, verb=VERBS, how=st.sampled_from(sorted(FAILURES)))
    def fail(self, node: int, verb: str, how: str) -> None:
        one = self.cluster.nodes[node]
        one.host.fail_next(verb, FAILURES[how]())
        self._work(one)
        one.host.faults.clear()

    @rule(node=NODES)
    def fall_silent(self, node: int) -> None:
        """One always lives: when nobody reports, it is the control plane that was away."""
        if Node.objects.filter(state="created").exclude(pk=self.cluster.nodes[node].pk).count() == 0:
            return
        Node.objects.filter(pk=self.cluster.nodes[node].pk).update(last_seen=FromNow(-LONG_AGO))
        self.cluster.run(node_states.run)

    def _time_passes(self) -> None:
        """The sweep leaves alone what its process has just submitted: that is a while ago now, in the same order."""
        Operation.objects.update(created_at=RawSQL("created_at - INTERVAL 60 SECOND", []))
        self.cluster.forget_time()

    @rule()
    def sweep(self) -> None:
        self._time_passes()
        self.cluster.run(sweep.sweep)

    @invariant()
    def the_rows_agree(self) -> None:
        assert audit.findings([]) == []
        running = Counter(
            Operation.objects.filter(state__in=("running", "unwinding"), observational=False).values_list(
                "object_key", flat=True
            )
        )
        assert [key for key, count in running.items() if count > 1] == []

    def teardown(self) -> None:
        try:
            self._end()
        finally:
            for node in self.cluster.nodes:
                node.journal.close()
            transaction.savepoint_rollback(self.savepoint)

    def _end(self) -> None:
        for _ in range(4):
            for node in self.cluster.nodes:
                self.cluster.run(node.report)
            self.cluster.lose_sent_messages()
            self._time_passes()
            self.cluster.run(node_objects.run)
            self.cluster.settle(rounds=150)
        still = Operation.objects.filter(state__in=OPEN_OPERATION)
        assert [f"{row.kind} {row.object_key} {row.state}: {explain.why(row)['sentence']}" for row in still] == []
        assert self.cluster.findings() == []
        asked = Operation.objects.filter(kind="instance_delete").values_list("object_key", flat=True)
        left = Instance.objects.exclude(state="deleted")
        assert [row.pk for row in left if f"instance:{row.pk}" in set(asked)] == []
        twice = {key: n for key, n in self.cluster.effects().items() if key[1] in ONCE and n > 1}
        assert twice == {}


@pytest.mark.django_db
@pytest.mark.timeout(3600 if PROVE else 120)
def test_nothing_is_lost_doubled_or_forgotten_in_any_story(tmp_path, monkeypatch):
    """EN-1 to EN-15, CO-1, CO-4, CO-10: by stories that nobody thought of."""
    monkeypatch.setattr(node_states, "_listen", lambda: None)
    run_state_machine_as_test(
        type("Bound", (Story,), {"home": tmp_path, "patch": monkeypatch, "numbers": itertools.count()}),
        settings=settings(
            max_examples=STORIES,
            stateful_step_count=MOVES,
            deadline=None,
            database=None,
            derandomize=not PROVE,
            phases=[Phase.generate],  # uuids are new each time, so a story cannot be told twice
            suppress_health_check=list(HealthCheck),
        ),
    )

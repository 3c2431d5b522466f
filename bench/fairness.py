"""P8: how long one tenant's single steps take while another floods their node, against the same on the idle node, in one run.

    .venv/bin/python -m bench.fairness [--rounds 5] [--steps 200] [--flood 10000] [--stages 1,10]

The flood is operations of the other tenant, already running, of one step each, then of ten steps one after the other. A step
is everything that `bench.steps` measures, on the same fake node. "Wait" is from the operation's row to its step's outcome.
"""

import argparse
import time
from contextlib import ExitStack
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from bench import figures
from bench.steps import start
from lab.plane import Plane, Size, until

OBJECTS = 32
"""Instances that the flood is about: a node does one thing at a time to each, and has half as many steps in flight."""
PAUSE_SECONDS = 0.02


class Waits(NamedTuple):
    """Seconds, sorted: until the step was sent to its node, and until its outcome was settled."""

    sent: list[float]
    done: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--flood", type=int, default=10_000)
    parser.add_argument("--stages", default="1,10")
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=1.0))
        stack.callback(plane.close)
        start(plane, OBJECTS + 1)
        node = Tenants(plane)
        node.measure(20)
        for stages in map(int, options.stages.split(",")):
            compare(node, options, stages)


def compare(node: "Tenants", options: argparse.Namespace, stages: int) -> None:
    idle, flooded, rates, left = [], [], [], []
    for _ in range(options.rounds):
        idle.append(node.measure(options.steps))
        node.flood(options.flood, stages)
        before, begin = node.settled(), time.perf_counter()
        flooded.append(node.measure(options.steps))
        rates.append((node.settled() - before) / (time.perf_counter() - begin))
        left.append(node.ebb())
    for side, rounds in (("idle", idle), ("flooded", flooded)):
        figures.say(
            what="wait",
            side=side,
            stages=stages,
            sent_p99_ms=figures.spread([1000 * figures.percentile(waits.sent, 0.99) for waits in rounds], 1),
            p50_ms=figures.spread([1000 * figures.percentile(waits.done, 0.5) for waits in rounds], 1),
            p99_ms=figures.spread([1000 * figures.percentile(waits.done, 0.99) for waits in rounds], 1),
        )
    p99 = [[figures.percentile(waits.done, 0.99) for waits in rounds] for rounds in (flooded, idle)]
    figures.say(
        what="P8",
        stages=stages,
        flood=options.flood,
        left_of_flood=figures.spread(left, 0),
        steps_per_second=figures.spread(rates, 1),
        p99_ratio=figures.ratios(*p99),
        goal="<= 5",
    )


class Tenants:
    """Two namespaces on one node: a quiet one, and one that floods it."""

    def __init__(self, plane: Plane) -> None:
        from sftasks.plans import instances
        from sfweb.models import Instance, Namespace

        self._quiet, self._loud = (Namespace.objects.create(name=name) for name in ("quiet", "loud"))
        rows = list(Instance.objects.order_by("created_at"))
        self._mine = str(rows[0].pk)
        self._observe = [(str(row.pk), instances.step(row, "observe_instance")) for row in rows[1:]]
        self._node = UUID(plane.node_uuids[0])

    def measure(self, steps: int) -> Waits:
        """The quiet one's steps, one at a time."""
        from sftasks import engine
        from sfweb.models import Operation, Step
        from sfweb.models.state import OPEN_OPERATION

        keys = []
        for _ in range(steps):
            operation = Operation.objects.create(**self._row(self._quiet, self._mine, 1))
            keys.append(operation.pk)
            engine.advance(operation.pk)
            mine = Operation.objects.filter(pk=operation.pk, state__in=OPEN_OPERATION)
            until(lambda mine=mine: not mine.exists(), 60, "a step of the quiet one", pause=0.005)
            time.sleep(PAUSE_SECONDS)
        moments = Step.objects.filter(operation_id__in=keys)
        times = list(moments.values_list("operation__created_at", "first_sent_at", "finished_at"))
        sent = sorted((sent - asked).total_seconds() for asked, sent, _ in times)
        return Waits(sent, sorted((done - asked).total_seconds() for asked, _, done in times))

    def flood(self, steps: int, stages: int) -> None:
        """So many steps of the loud one, planned as an operation's start does; the node is busy when this returns."""
        from django.db import transaction

        from sftasks import dispatch, sweep
        from sfweb.models import Operation
        from sfweb.models.fields import UtcNow

        for _ in range(0, steps // stages, OBJECTS):
            with transaction.atomic():
                for instance, observe in self._observe:
                    row = self._row(self._loud, instance, stages)
                    operation = Operation.objects.create(**row, state="running", started_at=UtcNow())
                    dispatch.plan(operation, {stage: [observe] for stage in range(stages)})
        sweep.ring_node(self._node)
        time.sleep(1)

    def ebb(self) -> int:
        """End the flood; how many of its steps had not been sent."""
        from sfweb.models import Operation, Step
        from sfweb.models.state import OPEN_OPERATION

        planned = Step.objects.filter(operation__namespace=self._loud, state="planned")
        left = int(planned.update(state="obsolete"))
        sent = Step.objects.filter(operation__namespace=self._loud, state="sent")
        until(lambda: not sent.exists(), 60, "what was sent is settled")
        Operation.objects.filter(namespace=self._loud, state__in=OPEN_OPERATION).update(state="cancelled")
        return left

    def settled(self) -> int:
        from sfweb.models import Step

        return Step.objects.filter(node_id=self._node, state="done").count()

    def _row(self, namespace: Any, instance: str, steps: int) -> dict[str, Any]:
        from bench.step_kind import NAME

        params = {"instance": instance, "steps": steps}
        key = f"bench:{uuid4()}"
        return {"kind": NAME, "object_key": key, "params": params, "observational": True, "namespace": namespace}


if __name__ == "__main__":
    main()

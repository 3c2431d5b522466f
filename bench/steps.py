"""P6 and P7: one operation step against bare Celery, and what a process pays to send, in one run, interleaved.

    .venv/bin/python -m bench.steps [--rounds 5] [--steps 480] [--in-flight 1,16]

Ours is everything between two steps of an operation on a fake node: render, sign, row, message, worker, journal on disk
(fsync), HTTP outcome, settle, event, next step. Bare Celery is two messages. Neither does anything in between. Both use the
same Redis and two cores, each with as many processes as its default says.
"""

import argparse
import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from itertools import pairwise

from bench import figures
from lab.child import CODE
from lab.plane import ROLES, Plane, Size, new_instance, until

STEPS_OF_AN_OPERATION = 10
LANES = 4
"""One namespace alone has no more in flight than threads (EN-10)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--in-flight", default="1,16")
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=1.0, more={"WEB_WORKERS": "2"}))
        stack.callback(plane.close)
        sizes = [int(size) for size in options.in_flight.split(",")]
        start(plane, max(sizes))
        bare = start_bare(plane, stack)
        for in_flight in sizes:
            compare_steps(plane, bare, options, in_flight)
        compare_sending(plane, bare)


def start(plane: Plane, most: int = 16) -> None:
    """The plane with the bench's kind of operation and action; without the sweep, which would see nothing.

    It has instances, one for each operation in flight, as a node does one thing at a time to each, and namespaces.
    """
    plane.start()
    for name in ("control", "beat", "flower"):
        plane.kill(name)
    internal = plane.processes["internal"]
    internal.kill()
    internal.command[-1] = "bench.step_wsgi"
    internal.environment = {**internal.environment, "SF_INTERNAL": "1"}
    internal.start()
    for role in ROLES:
        process = plane.processes[f"node1-{role}"]
        process.kill()
        process.command[process.command.index("lab.fake_node")] = "bench.step_node"
        process.start()
    os.environ.update(plane.environment, SF_ROLE="api", DJANGO_SETTINGS_MODULE="sfweb.settings")
    import django

    django.setup()
    import bench.step_kind  # noqa: F401  (registers itself in this process)
    from bench.step_action import NAME

    until(lambda: f'"{NAME}"' in plane.sql("SELECT actions FROM nodes")[0][0], 30, "the node has reported")
    api = plane.api()
    for number in range(LANES):
        api.ok("POST", "/auth/namespaces", {"namespace": f"lane{number}"})
    for number in range(most):
        api.ok("POST", "/instances", {**new_instance(f"observed{number}"), "disk": [{"size": 1}]})
    until(lambda: {row["state"] for row in api.ok("GET", "/instances")} == {"created"}, 60, "the instances")


def start_bare(plane: Plane, stack: ExitStack):
    """The two bare workers."""
    url = os.environ["BENCH_BROKER_URL"] = plane.broker().removesuffix("/0") + "/5"
    from bench import bare_celery

    for queue in ("bare.node", "bare.control"):
        words = ["worker", "-Q", queue, "-n", f"{queue}@bench", "-P", "threads", "-c", "8", "-l", "ERROR"]
        words += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--prefetch-multiplier", "1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "bench.bare_celery", *words],
            cwd=CODE,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(CODE),
                "LANG": "C.UTF-8",
                "BENCH_BROKER_URL": url,
                "PYTHONWARNINGS": "ignore",
            },
            stdout=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
    bound = {b"_kombu.binding.bare.node", b"_kombu.binding.bare.control"}
    until(lambda: bound <= set(bare_celery.notes().keys("*")), 30, "the bare workers listen")
    time.sleep(1)
    bare_celery.measure(50, 4)
    return bare_celery


def measure_ours(steps: int, in_flight: int) -> tuple[float, list[float]]:
    """(steps a second, seconds from a step's hand-out to its settlement) of `in_flight` operations at once."""
    from sftasks import engine
    from sfweb.models import Instance, Operation, Step
    from sfweb.models.state import OPEN_OPERATION

    instances = Instance.objects.order_by("created_at")[:in_flight]
    chains = [_chain(str(instance.pk), steps // in_flight, number) for number, instance in enumerate(instances)]
    for chain in chains:
        engine.advance(chain[0])
    keys = [key for chain in chains for key in chain]
    while Operation.objects.filter(pk__in=keys, state__in=OPEN_OPERATION).exists():
        time.sleep(0.05)
    times = list(Step.objects.filter(operation_id__in=keys).values_list("operation_id", "first_sent_at", "finished_at"))
    # as long as every chain still has steps: then one fewer is in flight than was asked for
    begin = max(min(sent for key, sent, _ in times if key in chain) for chain in chains)
    end = min(max(finished for key, _, finished in times if key in chain) for chain in chains)
    latencies = sorted((done - sent).total_seconds() for _, sent, done in times if sent >= begin and done <= end)
    return len(latencies) / (end - begin).total_seconds(), latencies


def _chain(instance: str, steps: int, number: int) -> list[uuid.UUID]:
    """Operations of ten steps, each waiting for the one before it: no real one has hundreds."""
    from bench.step_kind import NAME
    from sfweb.models import Namespace, Operation, OperationDependency

    namespace = Namespace.objects.get(name=f"lane{number % LANES}")
    params = {"instance": instance, "steps": STEPS_OF_AN_OPERATION}
    rows = [
        Operation(kind=NAME, object_key=f"bench:{uuid.uuid4()}", params=params, observational=True, namespace=namespace)
        for _ in range(max(1, steps // STEPS_OF_AN_OPERATION))
    ]
    Operation.objects.bulk_create(rows)
    pairs = pairwise(rows)
    OperationDependency.objects.bulk_create([OperationDependency(operation=row, needs=one) for one, row in pairs])
    return [row.pk for row in rows]


def compare_steps(plane: Plane, bare, options: argparse.Namespace, in_flight: int) -> None:
    measure_ours(50, in_flight)
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(bare.measure(options.steps, in_flight))
        ours.append(measure_ours(options.steps, in_flight))
    for name, rounds in (("bare celery", theirs), ("ours", ours)):
        figures.say(
            what="step",
            side=name,
            in_flight=in_flight,
            steps_per_second=figures.spread([rate for rate, _ in rounds], 1),
            p50_ms=figures.spread([1000 * figures.percentile(times, 0.5) for _, times in rounds], 2),
            p99_ms=figures.spread([1000 * figures.percentile(times, 0.99) for _, times in rounds], 2),
        )
    figures.say(
        what="P6",
        in_flight=in_flight,
        throughput_ratio=figures.ratios([rate for rate, _ in ours], [rate for rate, _ in theirs]),
        p50_ratio=figures.ratios(
            [figures.percentile(times, 0.5) for _, times in ours],
            [figures.percentile(times, 0.5) for _, times in theirs],
        ),
        p99_ratio=figures.ratios(
            [figures.percentile(times, 0.99) for _, times in ours],
            [figures.percentile(times, 0.99) for _, times in theirs],
        ),
        goal="throughput >= 0.6, p50 <= 1.6, p99 <= 2",
    )


def compare_sending(plane: Plane, bare) -> None:
    """What the caller pays for one message and for a hundred; nobody reads the queue."""
    from nodeagent.wire import StepMessage
    from sftasks import celery

    message = StepMessage(
        token="t",
        node="nobody",
        incarnation="i",
        action="observe_instance",
        version=1,
        object_key="instance:0f3a1e34-dddd-4eee-8fff-1234567890ab",
        generation=17,
        request={"instance": "0f3a1e34-dddd-4eee-8fff-1234567890ab"},
        signature="f" * 64,
    )
    sides = {
        "bare apply_async": lambda: bare.perform.apply_async((1, 0.0, bare.PAYLOAD), queue="bare.nobody"),
        "ours, 1": lambda: celery.ring([(message, False)]),
        "ours, 100": lambda: celery.ring([(message, False)] * 100),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(100):
        for name, send in sides.items():
            begin = time.perf_counter()
            send()
            times[name].append(1000 * (time.perf_counter() - begin))
    median = {name: figures.percentile(sorted(values), 0.5) for name, values in times.items()}
    figures.say(
        what="P7",
        p50_ms={name: round(value, 3) for name, value in median.items()},
        one_over_bare=round(median["ours, 1"] / median["bare apply_async"], 2),
        hundred_over_one=round(median["ours, 100"] / median["ours, 1"], 2),
        goal="one <= 1.2 x bare, a hundred <= 10 x one",
    )


if __name__ == "__main__":
    main()

"""P9: instances that a simulated cluster makes in a second, all of it, against bare Celery's steps a second, interleaved.

    .venv/bin/python -m bench.throughput [--rounds 5] [--instances 120] [--nodes 20] [--clients 4]

A round is bare Celery with 16 steps in flight, then so many instances by `POST /instances` from several clients, then as many
by batches of twenty. A rate counts from the first request until the last instance is created. The ceiling is bare Celery's
rate divided by the steps that an instance took, those for its network and its mesh among them; beside it the ceiling for five
steps, from which the goal was made. Each client has a network.
"""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from typing import Any, NamedTuple

from bench import figures
from bench.beside import ROOM, connect
from bench.steps import start_bare
from lab import simulate
from lab.plane import Client, Plane, Size, new_instance, until

BATCH = 20
STEPS_OF_THE_GOAL = 5
BARE_STEPS, IN_FLIGHT = 300, 16
SECONDS = 300.0
SEED = 2
"""With which none of the first twenty nodes is a slow one."""
Bodies = list[dict[str, Any]]


class Made(NamedTuple):
    """What one round made: instances a second, and steps for each of them."""

    rate: float
    steps: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=120)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=0, apis=2, internals=2, room=ROOM, time_scale=1.0))
        stack.callback(plane.close)
        plane.start()
        plane.kill("flower")
        words = ["--nodes", str(options.nodes), "--instances", str(options.instances), "--time-scale", "1"]
        crowd = simulate.Crowd(plane, simulate.parse([*words, "--seed", str(SEED), "--faults"]))
        stack.callback(crowd.close)
        crowd.start()
        compare(Makers(plane, options.clients), start_bare(plane, stack), options)


def compare(makers: "Makers", bare: Any, options: argparse.Namespace) -> None:
    ways: dict[str, Callable[[Client, Bodies], None]] = {"singly": singly, "batches": batches}
    ceilings: list[float] = []
    made: dict[str, list[Made]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        ceiling = bare.measure(BARE_STEPS, IN_FLIGHT)[0]
        rounds = {name: makers.make(way, options.instances) for name, way in ways.items()}
        if number:  # the first one brings networks to nodes and fills caches
            ceilings.append(ceiling)
            for name, one in rounds.items():
                made[name].append(one)
    figures.say(what="bare celery", in_flight=IN_FLIGHT, steps_per_second=figures.spread(ceilings, 1))
    for name, those in made.items():
        figures.say(
            what="P9",
            asked=name,
            nodes=options.nodes,
            clients=options.clients,
            instances_per_second=figures.spread([one.rate for one in those], 1),
            steps_of_an_instance=figures.spread([one.steps for one in those], 2),
            share_of_ceiling=figures.ratios([one.rate * one.steps for one in those], ceilings),
            share_at_five_steps=figures.ratios([STEPS_OF_THE_GOAL * one.rate for one in those], ceilings),
            goal="share of the ceiling >= 0.5",
        )


def singly(client: Client, bodies: Bodies) -> None:
    for body in bodies:
        client.ok("POST", "/instances", body)


def batches(client: Client, bodies: Bodies) -> None:
    for first in range(0, len(bodies), BATCH):
        client.ok("POST", "/instances/batch", {"instances": bodies[first : first + BATCH]})


class Makers:
    """Clients with a network each, and what their cluster has made."""

    def __init__(self, plane: Plane, clients: int) -> None:
        self._plane, self._rows, self._number = plane, connect(plane), 0
        self._clients = [plane.api(number % len(plane.api_ports)) for number in range(clients)]
        self._networks = simulate.make_networks(self._clients[0], clients)

    def make(self, way: Callable[[Client, Bodies], None], instances: int) -> Made:
        """So many instances, and all that follows from them; returns when nothing is left to do."""
        until(lambda: not self._plane.open_operations(), SECONDS, "all is done", pause=0.2)
        created, steps = self._created(), self._count("steps")
        shares = [self._bodies(network, instances // len(self._clients)) for network in self._networks]
        total = created + sum(map(len, shares))
        begin = perf_counter()
        with ThreadPoolExecutor(len(shares)) as pool:
            asked: Sequence[Any] = [pool.submit(way, *pair) for pair in zip(self._clients, shares, strict=True)]
        for answer in asked:
            answer.result()
        until(lambda: self._created() == total, SECONDS, "the instances are created", pause=0.02)
        seconds = perf_counter() - begin
        until(lambda: not self._plane.open_operations(), SECONDS, "all is done", pause=0.2)
        number = total - created
        return Made(number / seconds, (self._count("steps") - steps) / number)

    def _bodies(self, network: str, number: int) -> Bodies:
        self._number += number
        last = self._number
        return [new_instance(f"made{index}", network, disk=[{"size": 1}]) for index in range(last - number, last)]

    def _created(self) -> int:
        return self._count("instances WHERE state = 'created'")

    def _count(self, rows: str) -> int:
        self._rows.execute(f"SELECT COUNT(*) FROM {rows}")
        return int(self._rows.fetchone()[0])


if __name__ == "__main__":
    main()

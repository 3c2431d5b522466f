"""P1, P2 and P4's second half: what it takes to choose a node and claim it, against OpenStack Placement, in one run.

    .venv/bin/python -m bench.placement [--rounds 5] [--seconds 3] [--nodes 100 1000] [--overcommits 3]

All sides have one MariaDB, flushed at every commit, sixteen clients, and in each round so many nodes that are empty.

    placement  GET ten candidates, PUT one of them; gunicorn, two workers of eight threads
    http       our claim, behind bare HTTP under the same gunicorn and from the same client
    create     the whole `POST /instances` of our API, likewise: one disk, one card
    ours, raw  our claim, and one by hand, in two processes of eight threads without HTTP

Placement's overcommit is counted beside them; that ours does not is a test (`tests/operations/test_claim_races.py`).
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from bench import figures, placement_rows
from bench.beside import ROOM, body, connect, served, signed_in, start
from bench.claims import instances
from bench.http_load import Link, rate
from bench.placement_peer import HEADERS, Placement
from lab.child import CODE
from lab.plane import Plane, Size

CLIENTS = 16
INSTANCES = 40_000
"""More than are claimed in the seconds of one side."""
Sides = Mapping[str, Callable[[], float]]
Rates = dict[int, dict[str, list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--nodes", type=int, nargs=2, default=[100, 1000])
    parser.add_argument("--overcommits", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=10.0, room=ROOM, more={"WEB_WORKERS": "2"}))
        stack.callback(plane.close)
        network = start(plane)
        rows = connect(plane)
        placement_rows.prepare(rows, max(options.nodes), ROOM, INSTANCES)
        placement = Placement(plane, max(options.nodes), ROOM)
        sides = make_sides(plane, placement, network, options.seconds)
        report(measured(sides, rows, placement, options), options.nodes)
        for _ in range(options.overcommits):
            figures.say(what="overcommit of Placement", **placement.overcommit())


def make_sides(plane: Plane, placement: Placement, network: str, seconds: float) -> Sides:
    """{name: what measures its claims a second}."""
    bare = served(plane, "claim_wsgi", 2, DJANGO_SETTINGS_MODULE="sfweb.settings")
    waiting = instances(plane.environment["DATABASE_URL"])

    def http() -> float:
        left = iter(waiting)

        async def claim(link: Link) -> str:
            status, text = await link.ask("PUT", f"/allocations/{next(left)}", {})
            return "done" if status == 204 else text.decode()

        return rate(bare, {}, claim, clients=CLIENTS, seconds=seconds)

    headers = signed_in(plane)

    async def create(link: Link) -> str:
        status, text = await link.ask("POST", "/instances", body("new", network))
        return "done" if status == 200 else text.decode()

    def without_http(side: str) -> float:
        command = [sys.executable, "-m", "bench.claims", side, str(seconds)]
        environment = {**plane.environment, "SF_ROLE": "api", "DJANGO_SETTINGS_MODULE": "sfweb.settings"}
        done = subprocess.run(command, env=environment, cwd=CODE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return float(done.stdout)

    return {
        "placement": lambda: rate(placement.port, HEADERS, placement.cycle, clients=CLIENTS, seconds=seconds),
        "http": http,
        "ours": lambda: without_http("ours"),
        "raw": lambda: without_http("raw"),
        "create": lambda: rate(plane.api_ports[0], headers, create, clients=CLIENTS, seconds=seconds),
    }


def measured(sides: Sides, rows: Any, placement: Placement, options: argparse.Namespace) -> Rates:
    """{nodes: {side: claims a second, round by round}}; the first round warms up."""
    rates: Rates = {nodes: {side: [] for side in sides} for nodes in options.nodes}
    for number in range(options.rounds + 1):
        for nodes in options.nodes:
            placement.resize(nodes)
            for side, measure in sides.items():
                placement_rows.resize(rows, nodes, ROOM)
                found = measure()
                placement_rows.counted(rows)
                if number:
                    rates[nodes][side].append(found)
    return rates


def report(rates: Rates, sizes: list[int]) -> None:
    for nodes, sides in rates.items():
        for side, found in sides.items():
            ratio = figures.ratios(found, sides["placement"])
            figures.say(
                what="claims", nodes=nodes, side=side, per_second=figures.spread(found, 1), times_placement=ratio
            )
    few, many = (rates[nodes] for nodes in sizes)
    for at, goal_claim, goal_create, sides in ((sizes[0], 60, 5, few), (sizes[1], 100, 20, many)):
        claim, create = (figures.ratios(sides[side], sides["placement"]) for side in ("ours", "create"))
        figures.say(what="P1", nodes=at, times_placement=claim, goal=f">= {goal_claim}")
        figures.say(what="P1", nodes=at, share_of_raw=figures.ratios(sides["ours"], sides["raw"]), goal=">= 0.5")
        figures.say(what="P4", nodes=at, times_placement=create, goal=f">= {goal_create}")
    for side in few:
        flatness = figures.ratios(many[side], few[side])
        figures.say(what="P2", side=side, rate_at_many_over_few=flatness, goal=">= 0.9 for ours")


if __name__ == "__main__":
    main()

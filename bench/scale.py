"""Pages of a large cluster against the same pages of a small one, in one run: goal, the median at most 3 times as long.

    .venv/bin/python -m bench.scale [--rounds 5] [--seconds 2] [--instances 100000] [--events 5000000]

Two control planes run side by side, each with its own database, and are asked in turn over one kept connection. The small
one has 1,000 instances and 50,000 events. Filling the large one takes minutes and some GiB of /dev/shm.
"""

import argparse
from collections.abc import Mapping
from contextlib import ExitStack

from bench import figures
from bench.beside import ROOM, connect, signed_in, start
from bench.reading import ask, fill
from lab.plane import Plane, Size

SMALL = (1_000, 50_000)
PAGES = {
    "first page": "/instances?limit=100",
    "newest first": "/instances?limit=100&order=-created",
    "by name": "/instances?limit=100&name=n7",
    "one, by name": "/instances/n7",
    "events of one": "/instances/n7/events?limit=100",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        small = prepared(stack, *SMALL)
        large = prepared(stack, options.instances, options.events)
        report(measured({"small": small, "large": large}, options))


def prepared(stack: ExitStack, instances: int, events: int) -> Plane:
    plane = Plane(Size(nodes=1, time_scale=10.0, room=ROOM))
    stack.callback(plane.close)
    start(plane)
    fill(connect(plane), instances, events)
    return plane


def measured(planes: Mapping[str, Plane], options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """{page: {plane: seconds of the median request, round by round}}; the first round warms up."""
    headers = {name: signed_in(plane) for name, plane in planes.items()}
    times: dict[str, dict[str, list[float]]] = {page: {name: [] for name in planes} for page in PAGES}
    for number in range(options.rounds + 1):
        for page, path in PAGES.items():
            for name, plane in planes.items():
                took = ask(plane.api_ports[0], path, headers[name], options.seconds)
                if number:
                    times[page][name].append(took)
    return times


def report(times: Mapping[str, Mapping[str, list[float]]]) -> None:
    for page, both in times.items():
        figures.say(
            what=page,
            small_p50_ms=figures.spread([1000 * value for value in both["small"]], 2),
            large_p50_ms=figures.spread([1000 * value for value in both["large"]], 2),
            times_small=figures.ratios(both["large"], both["small"]),
            goal="at most 3",
        )


if __name__ == "__main__":
    main()

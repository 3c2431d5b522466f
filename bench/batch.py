"""P5: a hundred instances by one `POST /instances/batch` against a hundred by `POST /instances` one after the other, in one run.

    .venv/bin/python -m bench.batch [--rounds 5] [--size 100] [--statements]

Served by gunicorn (one worker, eight threads), asked over one kept connection. Each instance has one disk and one card on a
network that is on its node already. The node's processes are ended first and the rows put back before each of the two,
so that both meet the same database.
"""

import argparse
import http.client
import json
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench import figures
from bench.beside import ROOM, body, connect, logged, signed_in, start
from bench.create import NEEDLESS, put_back
from lab.plane import Plane, Size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--statements", action="store_true", help="print the statements of one batch and stop")
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=10.0, room=ROOM))
        stack.callback(plane.close)
        network = start(plane)
        rows = connect(plane)
        statements = count_statements(plane, rows, network, options)
        if not options.statements:
            compare(plane, rows, network, options, statements)


def count_statements(plane: Plane, rows: Any, network: str, options: argparse.Namespace) -> int:
    """How many one batch takes from its sign-in to its answer."""
    put_back(rows)
    wanted = {"instances": [body(f"counted-{index}", network) for index in range(options.size)]}
    ask = partial(plane.api().ok, "POST", "/instances/batch", wanted)
    _, texts = logged(rows, ask, "argument LIKE 'INSERT INTO instances %'")
    begin = max(index for index, text in enumerate(texts) if "namespace_keys" in text)
    told = [text for text in texts[begin:] if not NEEDLESS.match(text)]
    if options.statements:
        print("\n".join(text[:160] for text in told))
    return len(told)


def compare(plane: Plane, rows: Any, network: str, options: argparse.Namespace, statements: int) -> None:
    asker = Asker(plane, network, options.size)
    times: dict[str, list[float]] = {"singly": [], "together": []}
    for number in range(options.rounds + 1):
        for name, took in times.items():
            put_back(rows)
            begin = time.perf_counter()
            getattr(asker, name)(f"{name}-{number}")
            if number:
                took.append(time.perf_counter() - begin)
    for name, took in times.items():
        rate = figures.spread([options.size / seconds for seconds in took], 1)
        figures.say(what="batch", side=name, instances=options.size, instances_per_second=rate)
    figures.say(
        what="P5",
        statements=statements,
        times_the_single_rate=figures.ratios(times["singly"], times["together"]),
        goal=">= 5",
    )


class Asker:
    """Creates instances over one kept connection."""

    def __init__(self, plane: Plane, network: str, size: int) -> None:
        self._headers = {**signed_in(plane), "Content-Type": "application/json"}
        self._link = http.client.HTTPConnection("127.0.0.1", plane.api_ports[0], timeout=60)
        self._network = network
        self._size = size

    def singly(self, mark: str) -> None:
        for index in range(self._size):
            self._ask("/instances", body(f"{mark}-{index}", self._network), 200)

    def together(self, mark: str) -> None:
        members = [body(f"{mark}-{index}", self._network) for index in range(self._size)]
        self._ask("/instances/batch", {"instances": members}, 202)

    def _ask(self, path: str, wanted: Any, status: int) -> None:
        self._link.request("POST", path, json.dumps(wanted), self._headers)
        answer = self._link.getresponse()
        read = answer.read()
        assert answer.status == status, read[:500]


if __name__ == "__main__":
    main()

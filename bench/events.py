"""P17, P18: events that a node reports, stored by us, against `executemany` of 100 into the same two tables, in one run.

    .venv/bin/python -m bench.events [--rounds 5] [--seconds 2] [--events 5000000]

Ours checks each batch as what it is, a claim: what is known already, what the node may speak of, how long each text is. The
raw side knows its rows. Both are first asked with empty tables, in turn, and then with `--events` rows in them. `notice` is
what the program on a node pays to spool one event, beside the same insert into SQLite by hand. At last the old rows are pruned
by another process, by turns, while a batch is stored again and again.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import figures
from bench.beside import ROOM, connect, start
from lab.plane import Plane, Size

BATCH = 100
OTHERS = 20_000
OLD = "UTC_TIMESTAMP(6) - INTERVAL 100 DAY"
PRUNE = """
import django; django.setup()
from sftasks.reconcilers import prune_events
prune_events.PAGES = 1
print("begins", flush=True)
while pruned := prune_events.run()["pruned"]:
    print(pruned, flush=True)
"""
MESSAGE = "set attribute power_state and requested an update of network interface"
EXTRA = {"attribute": "power_state", "value": "on", "request-id": "3f2b9c1e"}
Store = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--events", type=int, default=5_000_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=10.0, room=ROOM))
        stack.callback(plane.close)
        start(plane)
        os.environ.update(plane.environment, SF_ROLE="api", DJANGO_SETTINGS_MODULE="sfweb.settings")
        import django

        django.setup()
        rows = connect(plane)
        sides = {"ours": ours(), "raw": raw(rows)}
        empty = compare(sides, rows, options, emptied=True)
        fill(rows, options.events)
        full = compare(sides, rows, options, emptied=False)
        report(empty, full, options.events)
        report_notice(plane.directory, options.rounds)
        report_prune(plane, sides["ours"], options)


def ours() -> Store:
    """A page of events of a node, taken as its report brings them."""
    from nodeagent.wire import NodeEvent
    from sfweb.internal import claims
    from sfweb.models import Instance

    instance = Instance.objects.select_related("node").get()
    about = str(instance.pk)

    def store() -> None:
        page = [
            NodeEvent(
                uuid=str(uuid.uuid4()),
                type="mutate",
                message=MESSAGE,
                age=0.0,
                object_type="instance",
                object_uuid=about,
                extra=EXTRA,
            )
            for _ in range(BATCH)
        ]
        taken = claims.take_events(instance.node, page)
        assert len(taken) == BATCH

    return store


def raw(rows: Any) -> Store:
    rows.execute("SELECT uuid, node_id FROM instances")
    instance, node = rows.fetchone()
    text = json.dumps(EXTRA)

    def store() -> None:
        identities = [str(uuid.uuid4()) for _ in range(BATCH)]
        rows.execute("BEGIN")
        rows.executemany(
            "INSERT INTO events (uuid, type, message, extra, node, request_id, trace_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(identity, "mutate", MESSAGE, text, "node1", "", "") for identity in identities],
        )
        rows.executemany(
            "INSERT INTO event_objects (object_type, object_uuid, event_uuid, event_type) VALUES (%s, %s, %s, %s)",
            [
                (kind, about, identity, "mutate")
                for identity in identities
                for kind, about in (("node", node), ("instance", instance))
            ],
        )
        rows.execute("COMMIT")

    return store


def compare(
    sides: dict[str, Store], rows: Any, options: argparse.Namespace, *, emptied: bool
) -> dict[str, list[float]]:
    """{side: events a second, round by round}; the first round warms up."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds + 1):
        for name, store in sides.items():
            if emptied:
                rows.execute("TRUNCATE events")
                rows.execute("TRUNCATE event_objects")
            begin, stored = time.perf_counter(), 0
            while time.perf_counter() - begin < options.seconds:
                store()
                stored += BATCH
            if number:
                rates[name].append(stored / (time.perf_counter() - begin))
    return rates


def fill(rows: Any, events: int) -> None:
    """Events of 20,000 other objects, by the database itself."""
    rows.execute(
        "CREATE TEMPORARY TABLE others (PRIMARY KEY (number)) AS"
        f" SELECT UUID() AS uuid, seq - 1 AS number FROM seq_1_to_{OTHERS}"
    )
    for first in range(1, events, 500_000):
        last = min(first + 499_999, events)
        rows.execute(f"CREATE TEMPORARY TABLE fresh AS SELECT UUID() AS uuid, seq FROM seq_{first}_to_{last}")
        rows.execute(
            "INSERT INTO events (uuid, type, at, node, message, request_id, trace_id)"
            f" SELECT uuid, 'mutate', {OLD}, 'node1', '{MESSAGE}', '', '' FROM fresh"
        )
        rows.execute(
            "INSERT INTO event_objects (object_type, object_uuid, event_uuid, event_type, at)"
            f" SELECT 'instance', others.uuid, fresh.uuid, 'mutate', {OLD} FROM fresh"
            f" JOIN others ON others.number = fresh.seq % {OTHERS}"
        )
        rows.execute("DROP TABLE fresh")


def report(empty: dict[str, list[float]], full: dict[str, list[float]], events: int) -> None:
    for what, rates in (("P17 into empty tables", empty), (f"P17 into {events} rows", full)):
        figures.say(
            what=what,
            ours_per_s=figures.spread(rates["ours"], 0),
            raw_per_s=figures.spread(rates["raw"], 0),
            share_of_raw=figures.ratios(rates["ours"], rates["raw"]),
            goal="share of raw >= 0.7",
        )
    figures.say(
        what=f"P17 {events} rows over empty",
        ours=figures.ratios(full["ours"], empty["ours"]),
        raw=figures.ratios(full["raw"], empty["raw"]),
        goal="at least 0.6",
    )


def report_notice(directory: Path, rounds: int) -> None:
    """The median of a thousand, round by round, in microseconds."""
    from nodeagent.journal import Journal
    from nodeagent.wire import NodeEvent, dump

    journal = Journal(directory / "bench-journal.sqlite")
    bare = sqlite3.connect(directory / "bench-bare.sqlite", isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL")
    bare.execute("PRAGMA synchronous=FULL")
    bare.execute("CREATE TABLE events (uuid TEXT PRIMARY KEY, noticed REAL NOT NULL, event TEXT NOT NULL)")
    took: dict[str, list[float]] = {"ours": [], "bare": []}

    def event() -> NodeEvent:
        return NodeEvent(uuid=str(uuid.uuid4()), type="mutate", message=MESSAGE, age=0.0, extra=EXTRA)

    def by_hand(one: NodeEvent) -> None:
        bare.execute("INSERT INTO events VALUES (?, ?, ?)", [one.uuid, time.time(), json.dumps(dump(one))])

    for _ in range(rounds):
        for side, call in (("ours", journal.notice), ("bare", by_hand)):
            several = []
            for _ in range(1000):
                one = event()
                begin = time.perf_counter()
                call(one)
                several.append(1e6 * (time.perf_counter() - begin))
            took[side].append(figures.percentile(sorted(several), 0.5))
    journal.close()
    bare.close()
    figures.say(
        what="P17 one event spooled on a node",
        ours_p50_us=figures.spread(took["ours"], 1),
        sqlite_by_hand_p50_us=figures.spread(took["bare"], 1),
        goal="at most 20 us",
    )


def report_prune(plane: Plane, store: Store, options: argparse.Namespace) -> None:
    """What a batch takes while nobody prunes and while another process does, in turn."""
    took: dict[bool, list[float]] = {False: [], True: []}
    pruned, seconds = 0, 0.0
    environment = {**plane.environment, "SF_ROLE": "control", "DJANGO_SETTINGS_MODULE": "sfweb.settings"}
    for _ in range(options.rounds):
        took[False].append(_p99(store, options.seconds))
        with subprocess.Popen(
            [sys.executable, "-c", PRUNE], env=environment, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None and other.stdout.readline() == "begins\n"
            begin = time.perf_counter()
            took[True].append(_p99(store, options.seconds))
            other.terminate()
            seconds += time.perf_counter() - begin
            pruned += sum(int(line) for line in other.stdout)
    figures.say(
        what="P18 a batch stored beside a prune, p99",
        alone_ms=figures.spread([1000 * value for value in took[False]], 2),
        beside_ms=figures.spread([1000 * value for value in took[True]], 2),
        times_alone=figures.ratios(took[True], took[False]),
        pruned_per_s=round(pruned / seconds),
        goal="at most 2",
    )


def _p99(store: Store, seconds: float) -> float:
    took = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        store()
        took.append(time.perf_counter() - begin)
    return figures.percentile(sorted(took), 0.99)


if __name__ == "__main__":
    main()

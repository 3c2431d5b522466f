"""P10, P11, P18: lists, one instance and a page of events against raw WSGI that runs the same statements, in one run.

    .venv/bin/python -m bench.reading [--rounds 5] [--seconds 2] [--instances 1000] [--events 200000]

Both are served by gunicorn (one worker, eight threads) and asked over one kept connection, in turn. The raw side makes
a dictionary of each row and reads its JSON columns, and writes the answer that ours gave.
"""

import argparse
import http.client
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench import figures
from bench.beside import ROOM, connect, logged, raw_side, signed_in, start
from bench.create import NEEDLESS
from lab.plane import Plane, Size

COPIED = {
    "instances": {
        "uuid": "UUID()",
        "name": "CONCAT('n', seq)",
        "console_port": "NULL",
        "vdi_port": "NULL",
        "created_at": "source.created_at + INTERVAL seq MICROSECOND",
    },
    "disks": {"uuid": "UUID()", "instance_id": "target.uuid"},
    "interfaces": {"uuid": "UUID()", "instance_id": "target.uuid", "mac": "SUBSTR(MD5(target.uuid), 1, 17)"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--events", type=int, default=200_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=10.0, room=ROOM))
        stack.callback(plane.close)
        start(plane)
        rows = connect(plane)
        fill(rows, options.instances, options.events)
        rows.execute("SELECT uuid FROM instances WHERE name = 'n7'")
        one = f"/instances/{rows.fetchone()[0]}"
        paths = {"P10": "/instances", "P11": one, "P18": f"{one}/events?limit=100"}
        recipe = {path: captured(plane, rows, path) for path in paths.values()}
        report(paths, recipe, compare(plane, recipe, options))


def fill(rows: Any, instances: int, events: int) -> None:
    """Copies of the one guest, and events of which each guest has its share."""
    copy(rows, "instances", f"instances AS source, seq_1_to_{instances - 1} WHERE source.name = 'first'")
    for table in ("disks", "interfaces"):
        home = "source.instance_id = (SELECT uuid FROM instances WHERE name = 'first') AND target.name <> 'first'"
        copy(rows, table, f"{table} AS source, instances AS target WHERE {home}")
    rows.execute(
        "CREATE TEMPORARY TABLE numbered (PRIMARY KEY (number)) AS"
        " SELECT uuid, ROW_NUMBER() OVER () - 1 AS number FROM instances"
    )
    rows.execute(f"CREATE TEMPORARY TABLE fresh AS SELECT UUID() AS uuid, seq FROM seq_1_to_{events}")
    rows.execute(
        "INSERT INTO events (uuid, type, node, message, request_id, trace_id)"
        " SELECT uuid, 'audit', 'n1', CONCAT('event ', seq), '', '' FROM fresh"
    )
    rows.execute(
        "INSERT INTO event_objects (object_type, object_uuid, event_uuid, event_type) SELECT 'instance', numbered.uuid,"
        f" fresh.uuid, 'audit' FROM fresh JOIN numbered ON numbered.number = fresh.seq % {instances}"
    )
    rows.execute("ANALYZE TABLE instances, disks, interfaces, events, event_objects")


def copy(rows: Any, table: str, source: str) -> None:
    rows.execute(f"SHOW COLUMNS FROM {table}")
    columns = [row[0] for row in rows.fetchall()]
    made = COPIED[table]
    values = ", ".join(made.get(column, f"source.`{column}`") for column in columns)
    rows.execute(f"INSERT INTO {table} ({', '.join(f'`{name}`' for name in columns)}) SELECT {values} FROM {source}")


def captured(plane: Plane, rows: Any, path: str) -> dict[str, Any]:
    """Statements and answer of one request of ours."""
    client = plane.api()
    client.ok("GET", path)
    marker = "argument LIKE '%FROM `namespace_keys`%' OR argument LIKE '%FROM namespace_keys%'"
    answer, texts = logged(rows, partial(client.ok, "GET", path), marker)
    return {
        "answer": answer,
        "statements": [text for text in texts if text.startswith("SELECT") and not NEEDLESS.match(text)],
    }


def compare(plane: Plane, recipe: dict[str, Any], options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """{path: {side: seconds of the median request, round by round}}."""
    sides = {"ours": plane.api_ports[0], "raw": raw_side(plane, "raw_reading", recipe)}
    headers = signed_in(plane)
    times: dict[str, dict[str, list[float]]] = {path: {side: [] for side in sides} for path in recipe}
    for number in range(options.rounds + 1):
        for path in recipe:
            for side, listening in sides.items():
                took = ask(listening, path, headers, options.seconds)
                if number:
                    times[path][side].append(took)
    return times


def ask(port: int, path: str, headers: dict[str, str], seconds: float) -> float:
    """Seconds of the median request among those of a while."""
    link, took = http.client.HTTPConnection("127.0.0.1", port), []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        link.request("GET", path, headers=headers)
        answer = link.getresponse()
        text = answer.read()
        took.append(time.perf_counter() - begin)
        assert answer.status == 200, text[:300]
    link.close()
    return figures.percentile(sorted(took), 0.5)


def report(paths: dict[str, str], recipe: dict[str, Any], times: dict[str, dict[str, list[float]]]) -> None:
    goals = {"P10": "share of raw >= 0.7", "P11": "share of raw >= 0.30", "P18": "at most 1.5 times one instance"}
    for goal, path in paths.items():
        both, answer = times[path], recipe[path]["answer"]
        figures.say(
            what=goal,
            rows=len(answer) if isinstance(answer, list) else 1,
            statements=len(recipe[path]["statements"]),
            ours_p50_ms=figures.spread([1000 * value for value in both["ours"]], 2),
            raw_p50_ms=figures.spread([1000 * value for value in both["raw"]], 2),
            share_of_raw=figures.ratios(both["raw"], both["ours"]),
            times_one_instance=figures.ratios(both["ours"], times[paths["P11"]]["ours"]),
            goal=goals[goal],
        )


if __name__ == "__main__":
    main()

"""P4: the whole `POST /instances` against raw WSGI that runs the same statements and the same send, in one run.

    .venv/bin/python -m bench.create [--rounds 7] [--creates 40] [--statements]

Both are served by gunicorn (one worker, eight threads). A create is asked for with one disk and one card on a network that
is on its node already, so it sends one message (the router learns of the guest). The node's processes are ended first
and the rows put back after each create, so that every one meets the same database.
"""

import argparse
import http.client
import json
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from bench import figures
from bench.beside import ROOM, body, connect, logged, raw_side, signed_in, start
from bench.idle import cpu_of_group
from lab.plane import Plane, Size

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NEEDLESS = re.compile(r"SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO")
AS_BEFORE = (
    "UPDATE operations SET state = 'succeeded', running_key = NULL, queued_key = NULL WHERE state IN ('waiting', 'running')",
    "UPDATE steps SET state = 'done' WHERE state IN ('planned', 'sent')",
    "DELETE FROM resource_pool_allocations WHERE pool_name LIKE 'port/%'",
    "DELETE FROM addresses WHERE kind = 'instance'",
    "UPDATE interfaces SET state = 'deleted', mac = NULL WHERE mac IS NOT NULL",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--creates", type=int, default=40)
    parser.add_argument("--statements", action="store_true", help="print the statements of one create and stop")
    options = parser.parse_args()
    with ExitStack() as stack:
        plane = Plane(Size(nodes=1, time_scale=10.0, room=ROOM))
        stack.callback(plane.close)
        network = start(plane)
        rows = connect(plane)
        recipe = make_recipe(plane, rows, network)
        if options.statements:
            print("\n".join(text[:160] for text in recipe["statements"]))
            return
        compare(plane, rows, network, recipe, options)


def put_back(rows: Any) -> None:
    for statement in AS_BEFORE:
        rows.execute(statement)


def make_recipe(plane: Plane, rows: Any, network: str) -> dict[str, Any]:
    """What the raw side runs: the statements of one create, with a name wherever two creates differ."""
    one, statements, letter = captured(plane, rows, network, "one")
    _, others, _ = captured(plane, rows, network, "two")
    fresh = sorted(set(UUID.findall("".join(statements))) - set(UUID.findall("".join(others))))
    card = one["interfaces"][0]
    mac, address = int(card["macaddr"].replace(":", ""), 16), int(IPv4Address(card["ipv4"]))
    rows.execute("SELECT vsock_cid FROM instances WHERE uuid = %s", [one["uuid"]])
    own = {
        "console": one["console_port"],
        "vdi": one["vdi_port"],
        "cid": rows.fetchone()[0],
        "mac_text": card["macaddr"],
        "mac": mac,
        "address_text": card["ipv4"],
        "address": address,
    }
    names = {str(value): f"«{name}»" for name, value in own.items()}
    names |= {text: f"«uuid{index}»" for index, text in enumerate(fresh)} | {"'one'": "'«name»'", '"one"': '"«name»"'}
    pattern = re.compile("|".join(rf"(?<![0-9a-f-]){re.escape(text)}(?![0-9a-f-])" for text in names))

    def named(text: str) -> str:
        return pattern.sub(lambda found: names[found[0]], text)

    return {
        "statements": [named(text) for text in statements],
        "letter": named(letter),
        "answer": named(json.dumps(one)),
        "uuids": len(fresh),
        "first_address": int(IPv4Address("10.9.1.0")),
    }


def captured(plane: Plane, rows: Any, network: str, name: str) -> tuple[dict[str, Any], list[str], str]:
    """(answer, statements, message) of one create."""
    put_back(rows)
    ask = partial(plane.api().ok, "POST", "/instances", body(name, network))
    answer, texts = logged(rows, ask, "argument LIKE 'INSERT INTO instances %'")
    queue = f"node.{plane.node_uuids[0]}"
    letter = plane.redis_command("LINDEX", queue, "0").strip()
    begin = max(index for index, text in enumerate(texts) if "namespace_keys" in text)
    return answer, [text for text in texts[begin:] if not NEEDLESS.match(text)], letter


def compare(plane: Plane, rows: Any, network: str, recipe: dict[str, Any], options: argparse.Namespace) -> None:
    sides = {"ours": plane.api_ports[0], "raw": raw_side(plane, "raw_create", recipe)}
    headers = {**signed_in(plane), "Content-Type": "application/json"}
    times: dict[str, list[list[float]]] = {name: [] for name in sides}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    servers = {"ours": plane.processes["api"], "raw": plane.processes["raw_create"]}
    for number in range(options.rounds + 1):
        for name, listening in sides.items():
            create, before = creator(listening, headers, network), cpu_of_group(servers[name])
            took = sorted(create(rows, f"{name}-{number}-{index}") for index in range(options.creates))
            if number:
                times[name].append(took)
                spent[name].append((cpu_of_group(servers[name]) - before) / options.creates)
    report(times, spent, recipe)


def creator(port: int, headers: dict[str, str], network: str) -> Callable[[Any, str], float]:
    """A function that creates one instance over one kept connection and returns the seconds it took."""
    link = http.client.HTTPConnection("127.0.0.1", port)

    def create(rows: Any, name: str) -> float:
        put_back(rows)
        text = json.dumps(body(name, network))
        begin = time.perf_counter()
        link.request("POST", "/instances", text, headers)
        answer = link.getresponse()
        read = answer.read()
        took = time.perf_counter() - begin
        assert answer.status == 200, read[:500]
        rows.execute("SELECT COUNT(*) FROM instances WHERE name = %s", [name])
        assert rows.fetchone() == (1,), name
        return took

    return create


def report(times: dict[str, list[list[float]]], spent: dict[str, list[float]], recipe: dict[str, Any]) -> None:
    middle = {name: [figures.percentile(took, 0.5) for took in rounds] for name, rounds in times.items()}
    for name, rounds in times.items():
        figures.say(
            what="create",
            side=name,
            p50_ms=figures.spread([1000 * value for value in middle[name]], 2),
            p99_ms=figures.spread([1000 * figures.percentile(took, 0.99) for took in rounds], 2),
            creates_per_second=figures.spread([len(took) / sum(took) for took in rounds], 1),
            cpu_ms=figures.spread([1000 * seconds for seconds in spent[name]], 2),
        )
    figures.say(
        what="P4",
        statements=len(recipe["statements"]),
        share_of_raw=figures.ratios(middle["raw"], middle["ours"]),
        goal="share of raw >= 0.30",
    )


if __name__ == "__main__":
    main()

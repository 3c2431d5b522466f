"""The peer of `bench.create`: raw WSGI and mysqlclient. Token, the fields' types, the statements of our create, its send.

The statements are those that ours ran once, as text, in BENCH_RECIPE, with `{names}` where each create has its own
values. Savepoints are left out: whoever writes by hand needs none.
"""

import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jwt
import redis

from bench.raw_connection import connection

RECIPE = json.loads(Path(os.environ["BENCH_RECIPE"]).read_text())
SECRET = os.environ["SECRET_KEY"]
_broker = redis.Redis.from_url(os.environ["BROKER_URL"])
_number = itertools.count(1)
_port = itertools.count()


def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    jwt.decode(environment["HTTP_AUTHORIZATION"].partition(" ")[2], SECRET, ["HS256"], issuer="steadyfist")
    wanted = json.loads(environment["wsgi.input"].read(int(environment["CONTENT_LENGTH"])))
    if not (isinstance(wanted["name"], str) and isinstance(wanted["cpus"], int) and isinstance(wanted["memory"], int)):
        raise ValueError("name, cpus and memory are needed")
    values = fresh(wanted["name"])
    run(values)
    _broker.lpush("bench.raw", fill(RECIPE["letter"], values))
    start("200 OK", [("Content-Type", "application/json")])
    return [fill(RECIPE["answer"], values).encode()]


def fresh(name: str) -> dict[str, str]:
    """What differs from one create to the next."""
    number = next(_number)
    mac = 2**41 + os.getpid() * 2**20 % 2**40 + number
    address = RECIPE["first_address"] + number % 60000
    port = 30000 + 2 * (next(_port) % 9000)
    values = {f"uuid{index}": str(uuid.uuid4()) for index in range(RECIPE["uuids"])}
    return values | {
        "name": name,
        "console": str(port),
        "vdi": str(port + 1),
        "cid": str(uuid.uuid4().int % 2**31),
        "mac": str(mac),
        "mac_text": ":".join(f"{mac:012x}"[at : at + 2] for at in range(0, 12, 2)),
        "address": str(address),
        "address_text": ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0)),
    }


def fill(text: str, values: dict[str, str]) -> str:
    """The text with `«name»` replaced; cut once, so that a create only joins."""
    parts = _cut.get(text)
    if parts is None:
        parts = _cut[text] = [piece.partition("»") for piece in text.split("«")]
    return parts[0][0] + "".join(values[name] + rest for name, _, rest in parts[1:])


_cut: dict[str, list[tuple[str, str, str]]] = {}


def run(values: dict[str, str]) -> None:
    cursor = connection().cursor()
    for statement in RECIPE["statements"]:
        cursor.execute(fill(statement, values))
        if cursor.description is not None:
            cursor.fetchall()

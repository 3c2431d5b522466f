"""The peer of `bench.reading`: raw WSGI and mysqlclient. Token, the statements that our answer took, the same JSON.

Each address has its statements, as ours ran them once, and its answer in BENCH_RECIPE. Made anew for each request are a
dictionary of each row that the database gives, with its JSON columns read, and the text of the answer.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jwt

from bench.raw_connection import connection

RECIPE = json.loads(Path(os.environ["BENCH_RECIPE"]).read_text())
JSON_COLUMNS = {"video", "side_channels", "value", "params", "extra"}
SECRET = os.environ["SECRET_KEY"]


def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    jwt.decode(environment["HTTP_AUTHORIZATION"].partition(" ")[2], SECRET, ["HS256"], issuer="steadyfist")
    address = environment["PATH_INFO"]
    if environment["QUERY_STRING"]:
        address += f"?{environment['QUERY_STRING']}"
    wanted = RECIPE[address]
    cursor = connection().cursor()
    for statement in wanted["statements"]:
        cursor.execute(statement)
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            made = dict(zip(names, row, strict=True))
            for name in JSON_COLUMNS & made.keys():
                made[name] = json.loads(made[name] or "null")
    text = json.dumps(wanted["answer"]).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]

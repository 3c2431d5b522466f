"""The peer of `bench.reading`: raw WSGI and mysqlclient. Token, the statements that our answer took, the same JSON.

Each address has its statements, as ours ran them once, and the rows of its answer in BENCH_RECIPE; what is made anew for
each request is everything that the database says and the text of the answer.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jwt

from bench.raw_connection import connection

RECIPE = json.loads(Path(os.environ["BENCH_RECIPE"]).read_text())
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
        cursor.fetchall()
    text = json.dumps(wanted["answer"]).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]

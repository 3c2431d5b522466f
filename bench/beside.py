"""A control plane that is measured, and the raw WSGI side beside it: both served by gunicorn, one worker, eight threads."""

import http.client
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import MySQLdb

from lab.plane import DATABASE, Plane, free_port, new_instance, until

ROOM = (10**6, 10**9, 10**6)
Answer = Any


def start(plane: Plane) -> str:
    """A plane with a network and a guest on its node; then the API alone. Returns the network's uuid."""
    plane.start()
    api = plane.api()
    network = api.ok("POST", "/networks", {"name": "net", "netblock": "10.9.0.0/16"})["uuid"]
    until(lambda: api.ok("GET", f"/networks/{network}")["state"] == "created", 60, "a network")
    first = api.ok("POST", "/instances", body("first", network))["uuid"]
    until(lambda: api.ok("GET", f"/instances/{first}")["state"] == "created", 60, "an instance")
    until(lambda: not plane.open_operations(), 60, "all is done")
    for name in list(plane.processes):
        if name != "api":
            plane.kill(name)
    return str(network)


def body(name: str, network: str) -> dict[str, Any]:
    return {**new_instance(name, network), "disk": [{"size": 1}]}


def connect(plane: Plane) -> Any:
    link = MySQLdb.connect(unix_socket=str(plane.mariadb.socket), user="root", db=DATABASE, charset="utf8mb4")
    link.autocommit(True)
    return link.cursor()


def logged(rows: Any, ask: Callable[[], Answer], marker: str) -> tuple[Answer, list[str]]:
    """What `ask` answers, and the statements of the newest connection that sent one which `marker` (SQL) finds."""
    rows.execute("SET GLOBAL log_output = 'TABLE'")
    rows.execute("SET GLOBAL general_log = 1")
    answer = ask()
    rows.execute("SET GLOBAL general_log = 0")
    rows.execute(
        "SELECT argument FROM mysql.general_log WHERE command_type = 'Query' AND thread_id ="
        f" (SELECT MAX(thread_id) FROM mysql.general_log WHERE {marker})"
    )
    texts = [bytes(text).decode() if isinstance(text, bytes) else text for (text,) in rows.fetchall()]
    rows.execute("TRUNCATE mysql.general_log")
    return answer, texts


def signed_in(plane: Plane) -> dict[str, str]:
    """The headers of who has a token."""
    client = plane.api()
    client.sign_in()
    return {"Authorization": str(client.session.headers["Authorization"])}


def raw_side(plane: Plane, module: str, recipe: Mapping[str, Any]) -> int:
    """Start the peer in `bench.<module>`, which reads the recipe; its port, once it listens."""
    file = plane.directory / "recipe.json"
    file.write_text(json.dumps(recipe))
    return served(plane, module, 1, BENCH_RECIPE=str(file))


def served(plane: Plane, module: str, workers: int, **environment: str) -> int:
    """Start the application in `bench.<module>` with eight threads a worker; its port, once it listens."""
    port, process = free_port(), plane.add(plane.celery(module, "raw"))
    gunicorn = [sys.executable, "-m", "gunicorn", f"--workers={workers}", "--threads=8", "--keep-alive=75"]
    process.command = [*gunicorn, f"--bind=127.0.0.1:{port}", f"bench.{module}"]
    process.environment = {**process.environment, **environment}
    process.start()
    until(lambda: _answers(port), 20, f"{module} listens")
    return port


def _answers(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port).connect()
    except OSError:
        return False
    return True

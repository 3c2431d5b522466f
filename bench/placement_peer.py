"""OpenStack Placement as the peer of `bench.placement`: its environment, its database on our server, its load.

It has a virtual environment of its own, made once, because its requirements are not ours.
"""

import hashlib
import json
import random
import subprocess
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.http_load import Link, drive
from lab.child import CODE, Process
from lab.plane import Plane, free_port, until

ENVIRONMENT = CODE / "var" / "placement"
REQUIREMENTS = CODE / "requirements" / "placement.txt"
HEADERS = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.38"}
WANTED = {"VCPU": 1, "MEMORY_MB": 1024, "DISK_GB": 10}
CANDIDATES = "/allocation_candidates?limit=10&resources=" + ",".join(f"{name}:{much}" for name, much in WANTED.items())
CONFIGURATION = """
[DEFAULT]
use_stderr = false
log_file = {directory}/placement-api.log
[api]
auth_strategy = noauth2
[placement]
randomize_allocation_candidates = true
[placement_database]
connection = mysql+pymysql://root@localhost/placement?unix_socket={socket}&charset=utf8mb4
max_pool_size = 20
max_overflow = 50
"""


def make_environment() -> None:
    """Anew whenever its requirements changed."""
    stamp, digest = ENVIRONMENT / "requirements.sha256", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    quiet = ["-qq", "--disable-pip-version-check", "--no-input"]
    subprocess.run([str(ENVIRONMENT / "bin" / "pip"), "install", *quiet, "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(digest)


class Placement:
    """Served by gunicorn, two workers of eight threads, with `nodes` providers that never fill."""

    def __init__(self, plane: Plane, nodes: int, room: Sequence[int]) -> None:
        make_environment()
        self._plane, self.port = plane, free_port()
        home = plane.directory / "placement"
        home.mkdir()
        text = CONFIGURATION.format(directory=plane.directory, socket=plane.mariadb.socket)
        (home / "placement.conf").write_text(text)
        plane.mariadb.execute("CREATE DATABASE placement CHARACTER SET utf8mb4")
        sync = ["placement-manage", "--config-file", str(home / "placement.conf"), "db", "sync"]
        subprocess.run([str(ENVIRONMENT / "bin" / sync[0]), *sync[1:]], check=True, capture_output=True)
        self._serve(home)
        self.register(nodes, room)
        for table in ("resource_providers", "inventories"):
            self._execute(f"CREATE TABLE all_{table} AS SELECT * FROM {table}")

    def _serve(self, home: Path) -> None:
        gunicorn = [str(ENVIRONMENT / "bin" / "gunicorn"), "--workers=2", "--worker-class=gthread", "--threads=8"]
        command = [*gunicorn, "--keep-alive=75", f"--bind=127.0.0.1:{self.port}", "placement.wsgi.api:application"]
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OS_PLACEMENT_CONFIG_DIR": str(home)}
        self._plane.add(Process("placement", command, environment, self._plane.directory / "placement.log")).start()
        until(self._answers, 60, "Placement answers", pause=0.5)

    def _answers(self) -> bool:
        try:
            drive(self.port, HEADERS, self.look, clients=1, most=1)
        except OSError:
            return False
        return True

    def _execute(self, sql: str) -> list[list[str]]:
        return [line.split("\t") for line in self._plane.mariadb.execute(f"USE placement; {sql}").splitlines()[1:]]

    def register(self, nodes: int, room: Sequence[int]) -> None:
        """So many providers through its API, each with room for (CPUs, MiB, GiB)."""
        totals = dict(zip(WANTED, room, strict=True))
        inventories = {name: {"total": much, "allocation_ratio": 1.0} for name, much in totals.items()}

        async def one(link: Link) -> str:
            provider = str(uuid.uuid4())
            status, text = await link.ask("POST", "/resource_providers", {"name": provider, "uuid": provider})
            assert status == 200, text
            body = {"resource_provider_generation": 0, "inventories": inventories}
            status, text = await link.ask("PUT", f"/resource_providers/{provider}/inventories", body)
            assert status == 200, text
            return "done"

        drive(self.port, HEADERS, one, clients=4, most=nodes)

    def resize(self, nodes: int) -> None:
        """So many of its providers, none of them used."""
        tables = ("allocations", "consumers", "inventories", "resource_providers")
        self._execute(
            "SET foreign_key_checks = 0;"
            + "".join(f"DELETE FROM {table};" for table in tables)
            + f"INSERT INTO resource_providers SELECT * FROM all_resource_providers ORDER BY id LIMIT {nodes};"
            "INSERT INTO inventories SELECT * FROM all_inventories"
            " WHERE resource_provider_id IN (SELECT id FROM resource_providers);"
            "ANALYZE TABLE resource_providers, inventories, allocations"
        )

    async def look(self, link: Link) -> str:
        status, text = await link.ask("GET", CANDIDATES)
        assert status == 200, text
        return "done"

    async def cycle(self, link: Link) -> str:
        """Ask for ten candidates, claim one of them; the whole once more where it was changed meanwhile."""
        for _ in range(20):
            status, text = await link.ask("GET", CANDIDATES)
            assert status == 200, text
            candidates = json.loads(text)["allocation_requests"]
            if not candidates:
                return "full"
            if await self._claim(link, next(iter(random.choice(candidates)["allocations"]))) == "done":
                return "done"
        return "conflict"

    async def _claim(self, link: Link, provider: str) -> str:
        body: dict[str, Any] = {"allocations": {provider: {"resources": WANTED}}, "consumer_generation": None}
        body |= {"project_id": "p", "user_id": "u", "consumer_type": "INSTANCE"}
        status, text = await link.ask("PUT", f"/allocations/{uuid.uuid4()}", body)
        assert status in (204, 409), text
        return "done" if status == 204 else "conflict"

    def overcommit(self) -> dict[str, Any]:
        """Twenty nodes with room for ten each; 32 clients ask for 300 at random, then for 300 by cycle. By its own rows."""
        self.resize(0)
        self.register(20, (10, 10 * WANTED["MEMORY_MB"], 10 * WANTED["DISK_GB"]))
        providers = [row[0] for row in self._execute("SELECT uuid FROM resource_providers")]

        async def at_random(link: Link) -> str:
            return await self._claim(link, random.choice(providers))

        outcomes: Counter[str] = Counter()
        for cycle in (at_random, self.cycle):
            outcomes += drive(self.port, HEADERS, cycle, clients=32, most=300)[0]
        used = self._execute(
            "SELECT SUM(used) FROM allocations WHERE resource_class_id = 0 GROUP BY resource_provider_id"
        )
        taken = [int(float(row[0])) for row in used]
        return {"room": 200, "placed": sum(taken), "nodes_over": sum(much > 10 for much in taken), "told": outcomes}

"""A whole control plane as real processes on loopback: own MariaDB and Redis, HTTP, worker, beat, flower, fake nodes.

Each process has a name, a log file and a process group of its own, and can be killed, stopped and started again by name.
`close` ends all of them; it is also done at exit.
"""

import atexit
import datetime
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from lab.child import CODE, Process
from lab.clock import Clock
from lab.control import FLOWER_RULES
from lab.servers import MariaDb, Redis

ROLES = ("report", "work", "work-bulk")
CONTROL_WORKER = ("worker", "-P", "threads", "-c", "4", "-Q", "control", "-n", "control@test", "--without-gossip")
BROKER_PASSWORD = "broker-secret-of-the-tests"
FLOWER_PASSWORD = "flower-secret-of-the-tests"
FLOWER_LOGIN = "operator:flower-page-secret"
SYSTEM_KEY = "system-key-of-the-tests"
DATABASE = "steadyfist"


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().randrange(15000, 32000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])


def until(true: Callable[[], Any], seconds: float, what: str, pause: float = 0.05) -> Any:
    """What `true` answers once it is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


@dataclass
class Size:
    """How much of everything a plane has.

    room   (cpus, memory MiB, disk GiB) of each node
    slow   seconds that each slow verb of a machine takes
    unreliable  a proxy stands before Redis that can lose and double what goes to nodes
    begins     what the database's clock shows at first, for the test to move on; else it is the machine's
    """

    nodes: int = 2
    apis: int = 1
    internals: int = 1
    room: tuple[int, int, int] = (64, 65536, 1000)
    slow: float = 0.0
    time_scale: float = 0.1
    roles: tuple[str, ...] = ROLES
    unreliable: bool = False
    begins: datetime.datetime | None = None
    more: dict[str, str] = field(default_factory=dict)


class Plane:
    """`processes` by name: api, api-2, internal, control, beat, flower, node1-report, node1-work, …"""

    def __init__(self, size: Size | None = None) -> None:
        self.size = size or Size()
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix="sfp", dir=memory if memory.is_dir() else None))
        self.clock = Clock(self.directory / "clock")
        if self.size.begins is not None:
            self.clock.show(self.size.begins)
        moved = {} if self.size.begins is None else self.clock.environment
        self.mariadb = MariaDb(self.directory / "db", port=free_port(), more=moved)
        flower = f"flower on >{FLOWER_PASSWORD} {FLOWER_RULES}"
        self.redis = Redis(self.directory / "redis", port=free_port(), password=BROKER_PASSWORD, users=(flower,))
        self.broker_port = free_port() if self.size.unreliable else self.redis.port
        self.api_ports = [free_port() for _ in range(self.size.apis)]
        self.internal_ports = [free_port() for _ in range(self.size.internals)]
        self.flower_port = free_port()
        self.processes: dict[str, Process] = {}
        self.node_uuids: list[str] = []
        atexit.register(self.close)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or it would end without the line above

    def broker(self, user: str = "", password: str = BROKER_PASSWORD, port: int = 0) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{port or self.broker_port}/0"

    @property
    def environment(self) -> dict[str, str]:
        """What every control-plane process is given; without a way to change the schema."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CODE),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "SECRET_KEY": "secret key of the tests, long enough for HS256 to be content",
            "DATABASE_URL": self._database("steadyfist", "app-secret"),
            "BROKER_URL": self.broker(),
            "BROKER_ADMIN_URL": self.broker(port=self.redis.port),
            "NODE_BROKER_URL": self.broker(),
            "INTERNAL_ADDRESSES": ",".join(f"http://127.0.0.1:{port}" for port in self.internal_ports),
            "TIME_SCALE": str(self.size.time_scale),
            "KEY_HASH_ROUNDS": "4",
            "METRICS_PORT": "0",
            "WEB_WORKERS": "1",
            "WEB_THREADS": "8",
            **self.size.more,
        }

    def _database(self, user: str, password: str) -> str:
        return f"mysql://{user}:{password}@127.0.0.1:{self.mariadb.port}/{DATABASE}"

    def start(self) -> "Plane":
        """Everything, in the order in which an operator would start it; returns when every node has reported."""
        self.mariadb.start()
        self.redis.start()
        self.mariadb.bootstrap(DATABASE, "app-secret", "schema-secret")
        schema = {"SCHEMA_DATABASE_URL": self._database("steadyfist_schema", "schema-secret")}
        self.manage("ensure_mariadb_schema", **schema)
        self.manage("bootstrap_cluster", SYSTEM_KEY=SYSTEM_KEY)
        if self.size.unreliable:
            between = (f"127.0.0.1:{self.broker_port}", f"127.0.0.1:{self.redis.port}")
            self.add(self._process("broker", "lab.unreliable_broker", *between)).start()
        for process in self._control_plane():
            self.add(process).start()
        lines = self.enrol([f"node{number}" for number in range(1, self.size.nodes + 1)])
        for number, line in enumerate(lines, start=1):
            self.add_node(number, line)
        until(lambda: self.nodes_here() == self.size.nodes, 40, "every node has reported", pause=0.2)
        return self

    def enrol(self, names: list[str]) -> list[str]:
        """An enrolment line for each name, by one process, because each start of Django costs a second."""
        code = "from django.core.management import call_command as c\n" + "".join(
            f"c('enrol_node', {name!r})\n" for name in names
        )
        return self.manage("shell", "--no-imports", "-c", code).split()

    def add(self, process: Process) -> Process:
        self.processes[process.name] = process
        return process

    def _process(self, name: str, *command: str, **environment: str) -> Process:
        return Process(
            name=name,
            command=[sys.executable, "-m", *command],
            environment={**self.environment, **environment},
            log=self.directory / f"{name}.log",
        )

    def _control_plane(self) -> Iterable[Process]:
        for kind, ports, application in (
            ("api", self.api_ports, "sfweb.wsgi"),
            ("internal", self.internal_ports, "sfweb.wsgi_internal"),
        ):
            for number, port in enumerate(ports, start=1):
                name = kind if number == 1 else f"{kind}-{number}"
                gunicorn = ("gunicorn", "-c", "python:sfweb.gunicorn", application)
                yield self._process(name, *gunicorn, BIND=f"127.0.0.1:{port}", SF_ROLE=kind)
        yield self.celery("control", "control", *CONTROL_WORKER)
        yield self.celery("beat", "beat", "beat")
        flower = (
            "flower",
            "--address=127.0.0.1",
            f"--port={self.flower_port}",
            f"--basic-auth={FLOWER_LOGIN}",
            "--read_only=True",
        )
        url = self.broker("flower", FLOWER_PASSWORD)
        yield self.celery("flower", "flower", *flower, BROKER_URL=url)

    def celery(self, name: str, role: str, *words: str, **environment: str) -> Process:
        return self._process(
            name, "celery", "-A", "sftasks.tasks", *words, "--loglevel=WARNING", SF_ROLE=role, **environment
        )

    def add_node(self, number: int, line: str) -> None:
        """Configure and start the processes of one fake node."""
        home = self.directory / f"node{number}"
        home.mkdir()
        cpus, memory_mb, disk_gb = self.size.room
        config = home / "agent.toml"
        config.write_text(
            f'name = "node{number}"\nmesh_address = "127.0.1.{number}"\nbyte_port = {free_port()}\n'
            f'state_dir = "{home}"\nrun_dir = "{home}/run"\ntime_scale = {self.size.time_scale}\n'
            f"[share]\ncpus = {cpus}\nmemory_mb = {memory_mb}\ndisk_gb = {disk_gb}\n"
        )
        words = ["--config", str(config), "--state", str(home / "machine.json"), "--slow", str(self.size.slow)]
        for role in self.size.roles:
            process = self._process(f"node{number}-{role}", "lab.fake_node", role, *words, SF_ENROL_LINE=line)
            process.environment = {
                name: value
                for name, value in process.environment.items()
                if name in ("PATH", "PYTHONPATH", "LANG", "SF_ENROL_LINE")
            }
            self.add(process).start()
        self.node_uuids.append(line.rsplit(":", 2)[1])

    def serve(self, number: int) -> None:
        """Start the node's byte server, if it does not run."""
        name = f"node{number}-serve"
        if name not in self.processes:
            worker = self.processes[f"node{number}-work"]
            command = ["serve" if word == "work" else word for word in worker.command]
            self.add(Process(name, command, worker.environment, self.directory / f"{name}.log")).start()
            until(lambda: self._listens(number), 15, f"{name} listens")

    def byte_address(self, number: int) -> str:
        host, port = self.sql(f"SELECT mesh_address, byte_port FROM nodes WHERE name = 'node{number}'")[0]
        return f"http://{host}:{port}"

    def _listens(self, number: int) -> bool:
        try:
            requests.get(self.byte_address(number), timeout=1)
        except requests.ConnectionError:
            return False
        return True

    def machine(self, number: int) -> Path:
        return self.directory / f"node{number}" / "machine.json"

    def effects(self) -> list[tuple[str, str, str]]:
        """(node, verb, thing) of everything that ever changed on any machine."""
        found = []
        for number in range(1, self.size.nodes + 1):
            log = self.machine(number).with_suffix(".effects")
            for line in log.read_text().splitlines() if log.exists() else []:
                verb, _, thing = line.partition(" ")
                found.append((f"node{number}", verb, thing))
        return found

    def kill(self, name: str) -> None:
        self.processes[name].kill()

    def restart(self, name: str) -> None:
        """Start again what was killed or has ended."""
        process = self.processes[name]
        process.kill()
        process.start()

    def redis_command(self, *words: str) -> str:
        command = ["redis-cli", "-s", str(self.redis.socket), "--no-auth-warning", *words]
        environment = {**os.environ, "REDISCLI_AUTH": BROKER_PASSWORD}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def dead(self) -> list[str]:
        return [name for name, process in self.processes.items() if not process.is_alive]

    def manage(self, *arguments: str, **environment: str) -> str:
        """Standard output of a `manage.py` command."""
        done = self._command(*arguments, **environment)
        assert done.returncode == 0, f"manage.py {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def _command(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(CODE / "manage.py"), *arguments],
            env={**self.environment, "SF_ROLE": "manage", **environment},
            cwd=CODE,
            capture_output=True,
            text=True,
            check=False,
        )

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of a statement, without the line of names."""
        try:
            lines = self.mariadb.execute(f"USE {DATABASE}; {statement}").splitlines()
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"{statement}: {error.stderr}") from error
        return [line.split("\t") for line in lines[1:]]

    def nodes_here(self) -> int:
        return int(self.sql("SELECT COUNT(*) FROM nodes WHERE state = 'created'")[0][0])

    def open_operations(self) -> list[list[str]]:
        return self.sql(
            "SELECT kind, state, uuid, object_key FROM operations WHERE state IN ('waiting', 'running', 'unwinding')"
        )

    def audit(self) -> list[str]:
        """What `manage.py audit_nodes` finds; twice at most, because a node's second look may be what repairs something."""
        for _ in range(2):
            done = self._command("audit_nodes", "--wait", str(max(20, 90 * self.size.time_scale)))
            if done.returncode == 0:
                return []
        return [*done.stdout.splitlines(), done.stderr[-300:]]

    def clear(self, client: "Client", seconds: float = 60.0) -> None:
        """Delete every instance and network and wait until they are gone."""
        for kind in ("instances", "networks"):
            for row in client.ok("GET", f"/{kind}"):
                if row["state"] not in ("deleted", "delete-wait") and row["name"] != "floating":
                    client.call("DELETE", f"/{kind}/{row['uuid']}")
        until(lambda: not self.open_operations(), seconds, "every operation has ended", pause=0.2)

    def api(self, number: int = 0) -> "Client":
        return Client(f"http://127.0.0.1:{self.api_ports[number]}")

    def logs(self) -> Mapping[str, str]:
        return {path.stem: path.read_text(errors="replace") for path in self.directory.glob("*.log")}

    def close(self) -> None:
        for process in self.processes.values():
            process.signal(signal.SIGTERM)
        end = time.monotonic() + 3
        while time.monotonic() < end and any(process.is_alive for process in self.processes.values()):
            time.sleep(0.05)
        for process in self.processes.values():
            process.kill()
        self.redis.stop()
        self.mariadb.stop()
        if not os.environ.get("KEEP_LOGS"):
            shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)


class Client:
    """The API as a program uses it: one key, one token at a time, errors as they are."""

    def __init__(self, url: str, namespace: str = "system", key: str = SYSTEM_KEY) -> None:
        self.url = url
        self.login = {"namespace": namespace, "key": key}
        self.session = requests.Session()
        self.session.trust_env = False

    def sign_in(self) -> None:
        answer = self.session.post(f"{self.url}/auth", json=self.login, timeout=30)
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        if "Authorization" not in self.session.headers:
            self.sign_in()
        return self.session.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=30)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer of a call that must succeed."""
        answer = self.call(method, path, body)
        assert answer.status_code in (200, 202), f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return json.loads(answer.text)

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_instance(name: str, *networks: str, **more: Any) -> dict[str, Any]:
    """The body of a create: one CPU, 64 MiB, one disk of 1 GiB from an image."""
    disk = {"size": 1, "base": "https://images.example.org/tiny.qcow2"}
    cards = [{"network_uuid": network} for network in networks]
    return {"name": name, "cpus": 1, "memory": 64, "disk": [disk], "network": cards, **more}

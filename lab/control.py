"""The control plane: one tree with the private servers and every process of the cluster's mind, in a network of its own.

`python -m lab.control` is the tree's first process. The others here are for `make run` and the tests.
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lab import credentials, mounts
from lab.forward import Route
from lab.layout import (
    API_PORT,
    BROKER_PORT,
    CODE,
    CONSOLE_OFFSET,
    CONSOLE_PORT,
    CONTROL_ADDRESS,
    DATABASE_PORT,
    FLOWER_OFFSET,
    FLOWER_PORT,
    INTERNAL_PORT,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    PROXY_PORT,
    PYTHON,
    USER,
    Layout,
    from_environment,
)
from lab.servers import MariaDb, Redis
from lab.supervisor import Program, Supervisor
from lab.tree import Tree, announce

DATABASE = "steadyfist"
# Flower sees everything and writes only what listening to events takes: it can put no message into any queue.
FLOWER_RULES = "%R~* ~_kombu* ~celeryev* ~unacked* ~*pidbox* &* +@all -@admin -@dangerous +info"


def tree(lab: Layout) -> Tree:
    return Tree(lab.control_dir, ("lab.control",))


def database(lab: Layout) -> MariaDb:
    return MariaDb(lab.control_dir / "mariadb", sockets=lab.sockets)


def broker(lab: Layout, secrets: dict[str, str]) -> Redis:
    return Redis(
        lab.control_dir / "redis",
        address=CONTROL_ADDRESS,
        port=BROKER_PORT,
        password=secrets["broker_password"],
        sockets=lab.sockets,
        users=(f"flower on >{secrets['flower_password']} {FLOWER_RULES}",),
    )


def settings(lab: Layout) -> dict[str, str]:
    """The environment of every control-plane process."""
    secrets = credentials.read(lab)
    return {
        "PATH": f"{PYTHON.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(CODE),
        "LANG": "C.UTF-8",
        "SECRET_KEY": secrets["secret_key"],
        "AUTH_SECRET": secrets["auth_secret"],
        "DATABASE_URL": _database_url(lab, DATABASE, secrets["app_password"]),
        "BROKER_URL": _broker_url(lab, "", secrets["broker_password"]),
        "BROKER_ADMIN_URL": "" if lab.broker_url else _broker_url(lab, "", secrets["broker_password"]),
        "NODE_BROKER_URL": _broker_url(lab, "", secrets["broker_password"]),
        "INTERNAL_ADDRESSES": f"http://{CONTROL_ADDRESS}:{INTERNAL_PORT}",
        "API_PUBLIC_URL": lab.api_url,
        "CONSOLE_BIND": f"{CONTROL_ADDRESS}:{CONSOLE_PORT}",
        "CONSOLE_URL": f"ws://127.0.0.1:{lab.api_port + CONSOLE_OFFSET}/",
        "FLOWER_URL": f"http://127.0.0.1:{lab.api_port + FLOWER_OFFSET}",
        "FLOATING_NETWORK": OUTSIDE,
        "FLOATING_GATEWAY": OUTSIDE_ADDRESS,
        "DNS_SERVERS": OUTSIDE_ADDRESS,
        "FETCH_ALLOW": os.environ.get("FETCH_ALLOW", ""),
        "TIME_SCALE": str(lab.time_scale),
        "KEY_HASH_ROUNDS": os.environ.get("KEY_HASH_ROUNDS", "10"),
        "WEB_THREADS": "8",
    }


def schema_settings(lab: Layout) -> dict[str, str]:
    """What only the schema's own step may know."""
    secrets = credentials.read(lab)
    url = _database_url(lab, f"{DATABASE}_schema", secrets["schema_password"])
    if lab.database_url and os.environ.get("SCHEMA_DATABASE_URL"):
        url = _through(os.environ["SCHEMA_DATABASE_URL"], DATABASE_PORT)
    return {"SCHEMA_DATABASE_URL": url, "SYSTEM_KEY": secrets["system_key"]}


def _database_url(lab: Layout, user: str, password: str) -> str:
    if lab.database_url:
        return _through(lab.database_url, DATABASE_PORT)
    return f"mysql://{user}:{password}@localhost/{DATABASE}?unix_socket={database(lab).socket}"


def _broker_url(lab: Layout, user: str, password: str) -> str:
    if lab.broker_url:
        return _through(lab.broker_url, BROKER_PORT)
    return f"redis://{user}:{password}@{CONTROL_ADDRESS}:{BROKER_PORT}/0"


def _through(url: str, port: int) -> str:
    """The same server, reached by the lab's way out; a socket is reached from everywhere as it is."""
    parts = urlsplit(url)
    if not parts.hostname or "unix_socket=" in parts.query:
        return url
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(
        parts._replace(netloc=f"{user}@{CONTROL_ADDRESS}:{port}" if user else f"{CONTROL_ADDRESS}:{port}")
    )


def routes(lab: Layout) -> list[Route]:
    """What is carried between the machine's network and the control plane's."""
    found = [
        Route("", f"127.0.0.1:{lab.api_port}", lab.control, f"{CONTROL_ADDRESS}:{API_PORT}"),
        Route("", f"127.0.0.1:{lab.api_port + CONSOLE_OFFSET}", lab.control, f"{CONTROL_ADDRESS}:{CONSOLE_PORT}"),
        Route("", f"127.0.0.1:{lab.api_port + FLOWER_OFFSET}", lab.control, f"127.0.0.1:{FLOWER_PORT}"),
    ]
    for url, port in ((lab.database_url, DATABASE_PORT), (lab.broker_url, BROKER_PORT)):
        parts = urlsplit(url)
        if parts.hostname and "unix_socket=" not in parts.query:
            given = f"{parts.hostname}:{parts.port or port}"
            found.append(Route(lab.control, f"{CONTROL_ADDRESS}:{port}", "", given))
    return found


def programs(lab: Layout) -> list[Program]:
    """In the order in which they start."""
    secrets = credentials.read(lab)
    found = [Program(name="forward", command=_module("lab.forward", *map(str, routes(lab))))]
    found += _servers(lab, secrets)
    schema = Program(name="schema", command=_module("lab.schema"), once=True, environment=schema_settings(lab))
    found += [
        replace(schema, namespace=lab.control),
        _web(lab, "api", f"{CONTROL_ADDRESS}:{API_PORT}", "sfweb.wsgi", 2),
        _web(lab, "internal", f"{CONTROL_ADDRESS}:{INTERNAL_PORT}", "sfweb.wsgi_internal", 1),
        _celery(
            lab,
            "control",
            "worker",
            "--pool=threads",
            "--concurrency=4",
            "--queues=control",
            "--without-gossip",
            "--hostname=control@lab",
        ),
        _celery(lab, "beat", "beat"),
        Program(
            name="console",
            command=_module("sfweb.console"),
            namespace=lab.control,
            user=USER,
            environment={"SF_ROLE": "console"},
        ),
    ]
    flower = _celery(lab, "flower", "flower", "--address=127.0.0.1", f"--port={FLOWER_PORT}", "--read_only=True")
    url = _broker_url(lab, "flower", secrets["flower_password"])
    found.append(replace(flower, environment={**flower.environment, "BROKER_URL": url}))
    if not lab.offline:
        found.append(
            Program(name="proxy", command=_module("lab.proxy", lab.control, f"{CONTROL_ADDRESS}:{PROXY_PORT}"))
        )
    return found


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(PYTHON), "-m", name, *arguments)


def _servers(lab: Layout, secrets: dict[str, str]) -> list[Program]:
    found = []
    if not lab.database_url:
        server = database(lab)
        found.append(Program(name="mariadb", command=tuple(server.command()), ready=server.socket, patience=30))
    if not lab.broker_url:
        redis = broker(lab, secrets)
        found.append(
            Program(
                name="redis",
                command=("redis-server", str(redis.directory / "redis.conf")),
                ready=redis.socket,
                namespace=lab.control,
            )
        )
    return found


def _web(lab: Layout, name: str, address: str, application: str, workers: int) -> Program:
    port = 13003 if name == "api" else 13006
    return Program(
        name=name,
        command=_module("gunicorn", "-c", "python:sfweb.gunicorn", application),
        namespace=lab.control,
        user=USER,
        environment={"BIND": address, "WEB_WORKERS": str(workers), "METRICS_PORT": str(port), "SF_ROLE": name},
        patience=20,
    )


def _celery(lab: Layout, role: str, *words: str) -> Program:
    return Program(
        name=role if role != "control" else "worker",
        command=_module("celery", "-A", "sftasks.tasks", *words, "--loglevel=WARNING"),
        namespace=lab.control,
        user=USER,
        environment={"SF_ROLE": role},
    )


def enter(lab: Layout, *command: str) -> list[str]:
    """`command`, as it is to be started from outside to run where the control plane's processes run."""
    return [*tree(lab).enter((), "--mount", "--pid", f"--net=/run/netns/{lab.control}"), *command]


def manage(lab: Layout, *arguments: str) -> str:
    """Standard output of a `manage.py` command."""
    done = subprocess.run(
        enter(lab, str(PYTHON), str(CODE / "manage.py"), *arguments),
        env={**os.environ, **settings(lab)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {arguments[0]}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    return done.stdout


def run(lab: Layout) -> None:
    """The tree's first process."""
    announce(lab.control_dir)
    mounts.mount_processes()
    mounts.mount_code()
    os.chdir(CODE)
    if not lab.database_url:
        database(lab).install()
    if not lab.broker_url:
        redis = broker(lab, credentials.read(lab))
        redis.directory.mkdir(parents=True, exist_ok=True)
        _write_private(redis.directory / "redis.conf", redis.configuration())
    Supervisor(lab.control_dir, programs(lab), {**settings(lab), **lab.environment()}).run()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


if __name__ == "__main__":
    run(from_environment())

"""The two HTTP processes under gunicorn: what each serves, and that neither serves the other's addresses."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.db import connection

from lab.servers import REPOSITORY, end
from sfweb.models import SchemaVersion
from sfweb.schema import COMPATIBLE_SINCE, VERSION

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def process(module: str, log: Path) -> Iterator[tuple[str, str]]:
    """(address, metrics address) of a gunicorn with two workers on the test database."""
    port, metrics = free_port(), free_port()
    database = connection.settings_dict
    environment = dict(os.environ) | {
        "DATABASE_URL": f"mysql://root@localhost/{database['NAME']}?unix_socket={database['OPTIONS']['unix_socket']}",
        "SECRET_KEY": settings.SECRET_KEY,
        "BIND": f"127.0.0.1:{port}",
        "METRICS_PORT": str(metrics),
    }
    command = [Path(sys.executable).parent / "gunicorn", "-c", "python:sfweb.gunicorn", module]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
    try:
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}/metrics"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            end(server.pid)


def wait_until_ready(address: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    pytest.fail(log.read_text()[-3000:])


def test_by_8_hc_5_both_processes_serve_their_own_addresses(transactional_db: None, tmp_path: Path):
    SchemaVersion.objects.create(id=1, version=VERSION, compatible_since=COMPATIBLE_SINCE)
    logs = tmp_path / "api.log", tmp_path / "internal.log"
    with process("sfweb.wsgi", logs[0]) as (api, metrics), process("sfweb.wsgi_internal", logs[1]) as (internal, _):
        wait_until_ready(api, logs[0])
        wait_until_ready(internal, logs[1])
        seen: list[Any] = [
            requests.get(f"{address}{path}", timeout=30).status_code
            for address in (api, internal)
            for path in ("/", "/instances", "/internal/report", "/admin/login/?next=/", "/livez")
        ]
        assert seen[:5] == [200, 401, 404, 200, 200]
        assert seen[5:7] == [404, 404]
        assert seen[7] != 404
        assert seen[8:] == [404, 200]
        assert 'route="instances",status="401"' in requests.get(metrics, timeout=5).text
    for log in logs:
        lines = log.read_text().splitlines()
        assert lines
        assert all(line.startswith("{") for line in lines), "one JSON object a line"

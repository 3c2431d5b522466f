"""docker-compose.yml as docker-compose reads it, and the system that its commands form, with the public client."""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from lab.child import CODE
from lab.plane import until
from tests.sim.compose import Composed, configuration

pytestmark = [pytest.mark.real, pytest.mark.skipif(not shutil.which("docker-compose"), reason="needs docker-compose")]
CLIENT = Path(sys.executable).parent / "sf-client"
SECRETS = {
    name: f"{name.lower().replace('_', '-')}-of-the-compose-test"
    for name in ("SECRET_KEY", "AUTH_SECRET", "SYSTEM_KEY", "BROKER_PASSWORD", "FLOWER_BROKER_PASSWORD")
}
PASSWORDS = ("app-password", "schema-password")
FILLED = SECRETS | {
    "FLOWER_BASIC_AUTH": "operator:secret",
    "APP_PASSWORD": PASSWORDS[0],
    "SCHEMA_PASSWORD": PASSWORDS[1],
    "DATABASE_URL": f"mysql://steadyfist:{PASSWORDS[0]}@db:3306/steadyfist",
    "SCHEMA_DATABASE_URL": f"mysql://steadyfist_schema:{PASSWORDS[1]}@db:3306/steadyfist",
    "TIME_SCALE": "0.1",
    "KEY_HASH_ROUNDS": "4",
    "WEB_WORKERS": "1",
}
RUNNING = ("api", "internal", "control", "beat", "flower", "console", "fake1", "fake2")


@pytest.fixture(scope="module")
def directory():
    made = Path(tempfile.mkdtemp(prefix="sfc", dir="/dev/shm"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def config(directory: Path) -> dict:
    """.env.example with every empty secret filled in, as an operator would."""
    lines = []
    for line in (CODE / ".env.example").read_text().splitlines():
        name = line.partition("=")[0]
        lines.append(f"{name}={FILLED[name]}" if name in FILLED else line)
    (directory / "env").write_text("\n".join(lines) + "\n")
    return configuration(directory / "env")


@pytest.fixture(scope="module")
def composed(config: dict, directory: Path):
    made = Composed(config, directory)
    made.open()
    try:
        made.start_database(PASSWORDS)
        for name in RUNNING:
            made.start(name)
        yield made
    finally:
        made.close()


def client(composed: Composed, *words: str) -> str:
    done = composed.inside(
        str(CLIENT), *words,
        SHAKENFIST_API_URL="http://127.0.0.1:13000", SHAKENFIST_NAMESPACE="system",
        SHAKENFIST_KEY=SECRETS["SYSTEM_KEY"], SHAKENFIST_ASYNC="block",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_is_as_it_should_be(config: dict):
    """ecosystem 8.4: pinned images, a healthcheck or an end for each service, time to end, nothing fixed in name."""
    text = (CODE / "docker-compose.yml").read_text()
    assert "container_name" not in text and not re.search(r"^version:", text, re.MULTILINE)
    for name, service in config["services"].items():
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+[\w.-]*", service["image"]), name
        assert "stop_grace_period" in service, name
        assert "healthcheck" in service or service["restart"] == "on-failure", name
    assert "USER steadyfist" in (CODE / "Dockerfile").read_text()


def test_every_setting_is_listed_with_its_meaning():
    listed = (CODE / ".env.example").read_text()
    read = set()
    for name in ("settings.py", "gunicorn.py"):
        text = (CODE / "sfweb" / name).read_text()
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", text)) | set(
            re.findall(r"_flag\(\"([A-Z_]+)\"", text)
        )
    own = {"SF_INTERNAL", "PROMETHEUS_MULTIPROC_DIR", "DJANGO_SETTINGS_MODULE"}
    assert {name for name in read - own if not re.search(rf"\b{name}\b", listed)} == set()


@pytest.mark.timeout(180)
def test_its_commands_form_a_system_that_answers_the_public_client(composed: Composed):
    until(lambda: [row["state"] for row in _listed(composed, "node")] == ["created"] * 2, 20, "both nodes are here")
    client(composed, "network", "create", "composed", "10.40.0.0/24")
    network = next(row["uuid"] for row in _listed(composed, "network") if row["name"] == "composed")
    client(composed, "instance", "create", "guest", "1", "128", "-d", "1@https://images.example.org/t", "-n", network)
    shown = until(lambda: _created(composed, "guest"), 30, "the instance is created")
    assert shown["node"] in ("fake1", "fake2")


def _created(composed: Composed, name: str) -> dict | None:
    shown = json.loads(client(composed, "--json", "instance", "show", name))
    return shown if shown["state"] == "created" else None


def _listed(composed: Composed, kind: str) -> list[dict]:
    answer = json.loads(client(composed, "--json", kind, "list"))
    return answer[f"{kind}s"] if isinstance(answer, dict) else answer


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["redis", *RUNNING])
def test_every_service_passes_its_own_healthcheck(composed: Composed, name: str):
    assert composed.running[name].poll() is None, composed.log(name)
    until(lambda: composed.is_healthy(name), 20, f"{name} is healthy: {composed.log(name)}", pause=0.5)

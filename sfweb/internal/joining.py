"""What a new host fetches to become a node: a script, and the agent's own files. Nothing secret is in either.

`manage.py enrol_node NAME --join` prints the line that fetches and runs the script; what proves the host is in that line.
"""

import io
import shlex
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "join.sh"
OF_TESTS = "fake_"


@require_GET
def script(request: HttpRequest) -> HttpResponse:
    return HttpResponse(SCRIPT.read_bytes(), content_type="text/x-shellscript")


@require_GET
def agent(request: HttpRequest) -> HttpResponse:
    return HttpResponse(bundle(), content_type="application/gzip")


def line(name: str, enrolment: str) -> str:
    """What an operator pastes on the new host, as root."""
    control = enrolment.removeprefix("sf1:").rsplit(":", 2)[0].partition(",")[0]
    return f"curl -fsS {control}/internal/join | bash -s -- {shlex.quote(name)} {shlex.quote(enrolment)}"


@cache
def bundle() -> bytes:
    """The agent, its requirements and its units, as a compressed archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in _files():
            archive.add(path, arcname=str(path.relative_to(ROOT)))
    return stream.getvalue()


def _files() -> Iterator[Path]:
    for path in sorted((ROOT / "nodeagent").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(OF_TESTS):
            yield path
    yield from (ROOT / "requirements" / name for name in ("agent.txt", "constraints.txt"))
    yield ROOT / "deploy" / "packages-node.txt"
    yield from sorted((ROOT / "deploy" / "systemd").iterdir())

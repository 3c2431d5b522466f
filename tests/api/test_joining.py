"""`enrol_node --join`: one line; what it fetches has no secret in it, is complete, and its units are sound."""

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from sfweb.internal import joining
from sfweb.management.commands import enrol_node
from sfweb.models import Node


@pytest.fixture
def nodes_listener(settings) -> Client:
    settings.ROOT_URLCONF = "sfweb.urls_internal"
    return Client()


@pytest.fixture
def unpacked(nodes_listener: Client, tmp_path: Path) -> Path:
    answer = nodes_listener.get("/internal/agent")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_one_line_is_printed_and_names_the_node(db, settings, monkeypatch):
    """The schema of a test's database has no version."""
    monkeypatch.setattr(enrol_node, "require_current_schema", lambda: None)
    settings.INTERNAL_ADDRESSES = ["http://10.0.0.1:13001", "http://10.0.0.2:13001"]
    told = io.StringIO()
    call_command("enrol_node", "host7", "--join", stdout=told)
    printed = told.getvalue()
    assert printed.count("\n") == 1
    node = Node.objects.get(name="host7").pk
    start = "curl -fsS http://10.0.0.1:13001/internal/join | bash -s -- host7 "
    assert printed.startswith(f"{start}sf1:http://10.0.0.1:13001,http://10.0.0.2:13001:{node}:")


def test_the_script_is_served_is_shell_and_reads_the_line_as_the_agent_does(nodes_listener: Client, tmp_path: Path):
    script = nodes_listener.get("/internal/join")
    assert script.status_code == 200
    subprocess.run(["bash", "-n"], input=script.content, check=True)
    reads = script.content.decode().partition("home=")[0] + '\necho "$name $addresses $control $host"\n'
    line = "sf1:http://10.0.0.1:13001,http://10.0.0.2:13001:6f1c9d0a-0000-4000-8000-000000000001:se_cr-et"
    done = subprocess.run(["bash", "-s", "--", "host7", line], input=reads.encode(), capture_output=True, check=True)
    addresses = "http://10.0.0.1:13001,http://10.0.0.2:13001"
    assert done.stdout.decode().split() == ["host7", addresses, "http://10.0.0.1:13001", "10.0.0.1"]


def test_the_agent_that_is_served_runs_by_itself(unpacked: Path):
    assert not list(unpacked.rglob("fake_*")) and not list(unpacked.rglob("*.pyc"))
    asked = (unpacked / "requirements" / "agent.txt").read_text()
    assert "-c constraints.txt" in asked and (unpacked / "requirements" / "constraints.txt").exists()
    done = subprocess.run(
        [sys.executable, "-m", "nodeagent", "--help"],
        cwd=unpacked,
        env={"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "work-bulk" in done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_units_are_sound_and_start_every_role(unpacked: Path):
    units = sorted((unpacked / "deploy" / "systemd").iterdir())
    for unit in units:
        text = unit.read_text().replace("/opt/steadyfist/venv/bin/python", sys.executable)
        unit.write_text(text.replace("User=steadyfist\n", "").replace("SupplementaryGroups=libvirt\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    complaints = [text for text in done.stderr.splitlines() if "steadyfist" in text]
    assert (done.returncode, complaints) == (0, []), done.stderr
    started = re.search(r"for role in (.*);", joining.SCRIPT.read_text())
    assert started is not None and started[1].split() == ["report", "work", "work-bulk", "serve"]


def test_only_get_is_answered_and_only_to_nodes(nodes_listener: Client, db, settings):
    assert nodes_listener.post("/internal/join").status_code == 405
    settings.ROOT_URLCONF = "sfweb.urls"
    assert Client().get("/internal/join").status_code == 404

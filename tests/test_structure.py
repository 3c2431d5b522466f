"""What the layout promises: everything has its test, every module its place, nothing outgrows its budget."""

import ast
import pkgutil
import re
from importlib.metadata import distributions
from pathlib import Path

import pytest

import nodeagent
from nodeagent.action import actions
from sftasks.operation import kinds
from sftasks.schedule import RECONCILERS

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("sfweb", "sftasks", "nodeagent", "lab")
OPEN_TO_THE_CONTROL_PLANE = {"action", "actions", "host", "specs", "wire"}
OF_THE_NODE_ALONE = {
    "__main__",
    "broker",
    "byte_server",
    "config",
    "control",
    "doorbell",
    "drivers",
    "duties",
    "fake_faults",
    "fake_files",
    "fake_guests",
    "fake_host",
    "fake_moves",
    "fake_store",
    "journal",
    "logs",
    "nethelper",
    "performer",
    "reporter",
    "worker",
}
FORBIDDEN_WORDS = ("util", "helper", "common", "misc", "manager", "handler", "baseobject", "data", "info", "process")
FILE_LINES, FUNCTION_LINES = 400, 60


def python_files(*tops):
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py")) if "migrations" not in path.parts]


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_operation_is_repeated_in_a_test_of_its_own(kind):
    text = (ROOT / "tests" / "operations" / f"test_{kind}.py").read_text()
    assert "repeats_are_harmless(" in text
    if kinds()[kind].retract is not None:
        assert "unwinds_from_every_step(" in text


@pytest.mark.parametrize("name", sorted(actions()))
def test_every_action_has_a_test(name):
    text = "".join(path.read_text() for path in (ROOT / "tests" / "actions").glob("test_*.py"))
    assert name in text


@pytest.mark.parametrize("name", sorted(RECONCILERS))
def test_every_reconciler_has_a_test(name):
    assert (ROOT / "tests" / "reconcilers" / f"test_{name}.py").exists()


def test_every_reconciler_is_on_the_clock():
    files = {path.stem for path in (ROOT / "sftasks" / "reconcilers").glob("*.py")} - {"__init__"}
    assert files == set(RECONCILERS)


def test_every_module_of_the_agent_is_placed_on_one_side_of_the_door():
    found = {module.name for module in pkgutil.iter_modules(nodeagent.__path__)}
    assert found == OPEN_TO_THE_CONTROL_PLANE | OF_THE_NODE_ALONE
    contract = (ROOT / ".importlinter").read_text()
    assert all(f"nodeagent.{name}\n" in contract for name in OF_THE_NODE_ALONE - {"__main__"})


def test_nl_1_no_process_execs_a_network_tool():
    tool = re.compile(
        r"""["'](?:/usr/sbin/|/sbin/)?(ip|bridge|brctl|nft|iptables|sysctl|arping|dhcp_release)["']\s*[,\]]"""
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group(1)}"
        for path in python_files("sfweb", "sftasks", "nodeagent")
        for match in tool.finditer(path.read_text())
        if "exec" in path.read_text() or "Popen" in path.read_text() or "subprocess" in path.read_text()
    ]
    assert found == []


def test_sc_33_only_placement_writes_counters_and_reservations():
    """SC-2: whoever else wrote them would have to know the lock order and the guard. Reading them is free.

    SC-33: each counter has a table of its own and one module that writes it; what they share is the guarded statement.
    """
    counters = re.compile(r"used_(?:cpus|memory_mb|disk_gb|\{\w+\})[\"']?\s*[=:][^=]|NodeCapacity\.objects.*update\(")
    reservations = re.compile(r"PlacementReservation(?:\.objects\.(?:bulk_)?create)?\((?!models)|INTO placement_res")
    assert _matching(counters) == {"sfweb/domain/capacity.py", "sfweb/domain/claims.py"}
    assert _matching(reservations) == {"sfweb/domain/reservations.py"}


def _matching(pattern):
    return {
        str(path.relative_to(ROOT))
        for path in python_files("sfweb", "sftasks")
        if pattern.search(path.read_text()) and "models" not in path.parts
    }


def test_no_distributed_lock_and_no_celery_delay():
    banned = re.compile(r"GET_LOCK|\.delay\(|countdown=|eta=|expires=\d|chord\(|SETNX")
    found = [
        str(path.relative_to(ROOT)) for path in python_files("sfweb", "sftasks") if banned.search(path.read_text())
    ]
    assert found == []


def test_auth_tcp_none_exists_only_in_the_lab():
    found = {path.parts[len(ROOT.parts)] for path in python_files(*PRODUCT) if 'auth_tcp = "none"' in path.read_text()}
    assert found <= {"lab"}


def test_files_and_functions_keep_their_budgets():
    found = []
    for path in python_files(*PRODUCT):
        text = path.read_text()
        if text.count("\n") > FILE_LINES:
            found.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert found == []


def test_file_names_say_what_they_hold():
    words = re.compile("|".join(FORBIDDEN_WORDS))
    found = [
        str(path.relative_to(ROOT))
        for path in python_files(*PRODUCT)
        if words.search(path.stem.lower()) and path.stem not in ("nethelper", "metadata")
    ]
    assert found == []


def test_every_package_of_the_environment_is_pinned():
    """Else a release of something that we never named could break an installation (and a build) overnight."""
    lines = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    pinned = {_spelled(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line}
    here = {_spelled(each.name): each.version for each in distributions()}
    of_the_tool = {"pip", "setuptools", "steadyfist-client", "wheel"}
    assert {name: version for name, version in here.items() if name not in of_the_tool} == pinned


def _spelled(name):
    return re.sub(r"[-_.]+", "-", name).lower()

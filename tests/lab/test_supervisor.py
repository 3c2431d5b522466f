"""The first process of a tree: order, restarts, orphans, the end. Run in a process number space of its own."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.layout import REPOSITORY
from lab.tree import Tree

pytestmark = pytest.mark.real
FIRST = """
import os, sys
from pathlib import Path
from lab import mounts
from lab.supervisor import Program, Supervisor
from lab.tree import announce
here = Path(os.environ["HERE"])
announce(here)
mounts.mount_processes()
shell = lambda name, text, **more: Program(name=name, command=("sh", "-c", text), **more)
Supervisor(here, [
    shell("server", "sleep 0.3; touch ready; trap 'echo server >> ended; exit' TERM; while :; do sleep 0.05; done",
          ready=here / "ready"),
    shell("once", "test -e ready && test -e retried && exit 0; touch retried; exit 3", once=True),
    shell("orphans", "echo $$ >> lives; (setsid sh -c 'sleep 0.2' &); exec sleep 1000"),
    shell("last", "trap 'echo last >> ended; exit' TERM; echo started > last; while :; do sleep 0.05; done"),
], {"PATH": os.environ["PATH"]}).run()
"""


def until(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "sft_first.py").write_text(f"import os\nos.chdir({str(tmp_path)!r})\n{FIRST}")
    grown = Tree(tmp_path, ("sft_first",), ("--mount", "--pid"))
    try:
        grown.start({"HERE": str(tmp_path), "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"})
        yield grown
    finally:
        grown.kill()


def programs(tree: Tree) -> dict[str, dict[str, Any]]:
    path = tree.directory / "processes.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def test_programs_start_in_order_and_start_again(tree: Tree) -> None:
    until(lambda: all(found["ok"] for found in programs(tree).values()) and programs(tree))
    found = programs(tree)
    assert (found["once"]["starts"], found["once"]["pid"]) == (2, 0)
    assert not Tree(tree.directory, tree.inside).start({}), "it runs already"
    first = found["orphans"]["pid"]
    subprocess.run(tree.enter(["kill", "-9", str(first)], "--mount", "--pid"), check=True)
    until(lambda: programs(tree)["orphans"]["pid"] not in (0, first))
    time.sleep(0.5)  # the orphan's life is over
    until(lambda: not ended_children_of_the_first(tree))


def ended_children_of_the_first(tree: Tree) -> list[str]:
    """Not those of the shells, which run a short program twenty times a second and take it in themselves."""
    listing = subprocess.check_output(tree.enter(["ps", "--ppid", "1", "-o", "stat="], "--mount", "--pid"), text=True)
    return [state for state in listing.split() if state.startswith("Z")]


def test_the_end_is_in_order_and_whole(tree: Tree) -> None:
    until((tree.directory / "last").exists)
    place = os.readlink(f"/proc/{tree.pid}/ns/pid")
    begin = time.monotonic()
    tree.stop()
    assert time.monotonic() - begin < 5
    assert (tree.directory / "ended").read_text() == "last\nserver\n"
    assert tree.pid is None
    assert place not in _process_spaces()


def test_a_killed_first_process_takes_all_with_it(tree: Tree) -> None:
    until((tree.directory / "last").exists)
    place = os.readlink(f"/proc/{tree.pid}/ns/pid")
    tree.kill()
    until(lambda: place not in _process_spaces())


def _process_spaces() -> set[str]:
    found = set()
    for name in os.listdir("/proc"):
        try:
            found.add(os.readlink(f"/proc/{name}/ns/pid"))
        except OSError:
            continue
    return found

"""External commands: arguments, limits, deadlines, and no survivors (EN-15, SE-9)."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nodeagent.drivers import command


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    end = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


def pid_in(path: Path) -> int:
    end = time.monotonic() + 5
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(path.read_text())


def test_arguments_are_never_shell_text() -> None:
    assert command.run(["echo", "a; echo b", "$HOME"], timeout=5) == "a; echo b $HOME\n"


def test_a_failure_carries_status_and_complaint() -> None:
    with pytest.raises(command.CommandFailed, match="no such thing") as caught:
        command.run(["sh", "-c", "echo no such thing >&2; exit 7"], timeout=5)
    assert caught.value.status == 7


def test_en_15_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(command.CommandTimeout):
        command.run(["sh", "-c", f"sleep 60 & echo $! > {note}; wait"], timeout=0.5)
    assert gone(pid_in(note))


def test_en_14_the_watch_can_end_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def cancel() -> None:
        raise KeyError("cancelled")

    with pytest.raises(KeyError):
        command.run(["sh", "-c", f"echo $$ > {note}; sleep 60"], timeout=30, watch=cancel)
    assert gone(pid_in(note))


def test_en_15_a_command_dies_with_its_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        f"from nodeagent.drivers import command; command.run(['sh', '-c', 'echo $$ > {note}; sleep 60'], timeout=60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    child = pid_in(note)
    assert os.getpgid(child) != os.getpgid(parent.pid)
    parent.kill()
    parent.wait()
    assert gone(child)


def test_se_9_limits_are_set_before_the_command_runs() -> None:
    limits = command.Limits(cpu_seconds=3, address_space=2**29, file_size=2**16)
    names = "CPU AS FSIZE CORE"
    script = f"import resource as r; print(*(r.getrlimit(getattr(r, 'RLIMIT_' + n))[0] for n in '{names}'.split()))"
    output = command.run([sys.executable, "-c", script], timeout=10, limits=limits)
    assert output.split() == ["3", str(2**29), str(2**16), "0"]

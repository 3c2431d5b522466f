"""How much of a CPU each of the node's own programs takes, from what the kernel counts for it.

The agent's programs leave their number in `agent_run`; the privileged one is asked for it by its socket, which cannot lie.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nodeagent.config import Config
from nodeagent.host import PROGRAMS

_CREDENTIALS = struct.Struct("3i")
_PROC = Path("/proc")
_USER, _SYSTEM, _BORN = 11, 12, 19
"""Places in `_fields`: CPU time in the program and in the kernel for it, and its start; clock ticks (proc(5), less 3)."""


class Sample(NamedTuple):
    """What a program had used when it was looked at. Seconds; `at` since the machine started."""

    pid: int
    used: float
    at: float


def note(config: Config, role: str) -> None:
    """Leave this program's number, and when it was started, for the one that reports."""
    path = _note_path(config, role)
    temporary = path.with_suffix(".new")
    temporary.write_text(f"{os.getpid()} {_fields(os.getpid())[_BORN]}")
    temporary.replace(path)


def _note_path(config: Config, role: str) -> Path:
    return config.agent_run / f"{role}.pid"


class CpuMeter:
    """Remembers the last look, so that each answer is of the time since then; the first is of a program's whole life."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._before: dict[str, Sample] = {}

    def fractions(self) -> dict[str, float]:
        """{program: share of one CPU}, without those that do not run."""
        found = {}
        for role, pid in self._running():
            with suppress(OSError, ValueError, IndexError):  # it has just ended
                now, born = _look(pid)
                before = self._before.get(role)
                if before is None or before.pid != pid:
                    before = Sample(pid, 0.0, born)
                self._before[role] = now
                if now.at > before.at:
                    found[role] = round((now.used - before.used) / (now.at - before.at), 2)
        return found

    def _running(self) -> Iterator[tuple[str, int]]:
        for role in PROGRAMS:
            with suppress(OSError, ValueError, IndexError):
                number, born = _note_path(self._config, role).read_text().split()
                # and not whoever got its number since; the command line would not tell, Celery writes over it
                if _fields(int(number))[_BORN] == born:
                    yield role, int(number)
        with suppress(OSError):
            yield "nethelper", _listener_of(self._config.helper_socket)


def _listener_of(path: Path) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(2.0)
        asking.connect(str(path))
        return int(_CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0])


def _look(pid: int) -> tuple[Sample, float]:
    """A sample of the program, and when it was started."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = _fields(pid)
    uptime = float((_PROC / "uptime").read_text().split()[0])
    return Sample(pid, (int(fields[_USER]) + int(fields[_SYSTEM])) / ticks, uptime), int(fields[_BORN]) / ticks


def _fields(pid: int) -> list[str]:
    """What the kernel says of a process after its name, which is in brackets and may have blanks and brackets in it."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()

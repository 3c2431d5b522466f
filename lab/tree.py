"""A process tree in namespaces of its own, such as a node: whoever kills its first process ends all of it at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.layout import REPOSITORY
from lab.servers import alive, keep, read_pid, reap

START_SECONDS = 20.0
STOP_SECONDS = 45.0
MARK = "LAB_TREE"
"""The variable by which a first process is known as this tree's."""


class TreeFailed(RuntimeError):
    """The first process did not come up; the text ends with what it said."""


@dataclass(frozen=True)
class Tree:
    """`inside` is the module that the first process runs; it says that it lives by `announce`."""

    directory: Path
    inside: tuple[str, ...]
    namespaces: tuple[str, ...] = ("--mount", "--pid", "--uts", "--ipc")

    @property
    def pid_path(self) -> Path:
        return self.directory / "first.pid"

    @property
    def log(self) -> Path:
        return self.directory / "log" / "first.log"

    @property
    def pid(self) -> int | None:
        """The first process's number on the machine, or None when the tree is not there."""
        pid = read_pid(self.pid_path)
        return pid if pid and alive(pid) and self._is_ours(pid) else None

    def start(self, environment: dict[str, str]) -> bool:
        """Bring it up if it is not; whether that was needed."""
        if self.pid:
            return False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        for left in (self.pid_path, self.directory / "processes.json"):
            left.unlink(missing_ok=True)
        namespaces = ["unshare", *self.namespaces, "--propagation", "slave", "--fork", "--kill-child=KILL"]
        with self.log.open("ab") as output:
            keeper = subprocess.Popen(
                [*namespaces, sys.executable, "-m", *self.inside],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment, MARK: str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        keep(keeper)
        end = time.monotonic() + START_SECONDS
        while not self.pid:
            if keeper.poll() is not None or time.monotonic() > end:
                raise TreeFailed(f"{self.directory.name} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return True

    def stop(self) -> None:
        """Ask the first process to end its children one after the other; kill it when that takes too long."""
        self._signal(signal.SIGTERM, STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """What a power cut does."""
        self._signal(signal.SIGKILL, 10.0)
        self.pid_path.unlink(missing_ok=True)

    def enter(self, command: Sequence[str], *kinds: str) -> list[str]:
        """`command`, as it is to be started from outside to run in the tree's namespaces of those kinds (as of nsenter)."""
        if not self.pid:
            raise TreeFailed(f"{self.directory.name} is not running")
        return ["nsenter", f"--target={self.pid}", *(kinds or ("--mount", "--pid", "--net", "--uts")), "--", *command]

    def _signal(self, number: int, seconds: float) -> None:
        pid = self.pid
        if not pid:
            return
        os.kill(pid, number)
        end = time.monotonic() + seconds
        while alive(pid) and time.monotonic() < end:
            time.sleep(0.02)
        reap()

    def _is_ours(self, pid: int) -> bool:
        """Whether the number in the file has not become another process's since, even one of another lab."""
        try:
            return f"{MARK}={self.directory}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False


def announce(directory: Path) -> None:
    """For the first process, while it still sees the machine's /proc: leave its number on the machine."""
    temporary = directory / ".first.pid"
    temporary.write_text(os.readlink("/proc/self"))
    temporary.replace(directory / "first.pid")

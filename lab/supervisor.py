"""The first process of a tree: starts programs in order, starts again what ended, and takes in what is orphaned.

A program that ends is started again after a pause that doubles up to five seconds and is forgotten once it has lived for
half a minute. `processes.json` in the tree's directory says at any moment what runs.
"""

import json
import os
import pwd
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
STEADY_SECONDS = 30.0
READY_SECONDS = 30.0
ENDING = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, kw_only=True)
class Program:
    """user       empty for root
    namespace  name of the network namespace to run in, empty for the tree's own
    ready      the file that appears when the next program may start
    once       it is to end with 0, and only then the next one starts
    stdin      a file that it reads
    patience   seconds between the request to end and the kill
    """

    name: str
    command: tuple[str, ...]
    user: str = ""
    namespace: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Path | None = None
    once: bool = False
    stdin: Path | None = None
    patience: float = 10.0

    def full_command(self) -> list[str]:
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}", "--"] if self.namespace else []
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", "--"] if self.user else []
        return [*enter, *become, *self.command]


@dataclass
class _Running:
    program: Program
    process: "subprocess.Popen[bytes] | None" = None
    pid: int = 0
    since: float = 0.0
    starts: int = 0
    pause: float = FIRST_PAUSE
    due: float = 0.0
    done: bool = False

    @property
    def is_ready(self) -> bool:
        program = self.program
        if program.once:
            return self.done
        waited = time.monotonic() - self.since > READY_SECONDS
        return bool(self.pid) and (program.ready is None or program.ready.exists() or waited)


class Supervisor:
    def __init__(self, directory: Path, programs: Sequence[Program], base: Mapping[str, str]) -> None:
        self._directory = directory
        self._base = base
        self._all = [_Running(program) for program in programs]
        self._written = ""
        self._alarms = -1

    def run(self) -> None:
        """Until SIGTERM; then the programs are ended, last one first."""
        self._alarms, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing)
        for number in (*ENDING, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        while True:
            self._start_due()
            self._write()
            if set(self._wait(self._idle_seconds())) & set(ENDING):
                break
            self._take_in()
        self._end_all()

    def _wait(self, seconds: float) -> bytes:
        """The signals that came within that time, or none."""
        select.select([self._alarms], [], [], seconds)
        try:
            return os.read(self._alarms, 1024)
        except BlockingIOError:
            return b""

    def _start_due(self) -> None:
        for each in self._all:
            if not each.pid and not each.done and time.monotonic() >= each.due:
                self._start(each)
            if not each.starts or (not each.is_ready and each.starts == 1) or (each.program.once and not each.done):
                return

    def _start(self, each: _Running) -> None:
        program = each.program
        log = self._directory / "log" / f"{program.name}.log"
        with log.open("ab") as output, (program.stdin or Path(os.devnull)).open("rb") as given:
            each.process = subprocess.Popen(
                program.full_command(),
                stdin=given,
                stdout=output,
                stderr=output,
                env={**self._base, **program.environment, **_home(program.user)},
                start_new_session=True,
            )
        each.pid = each.process.pid
        each.since = time.monotonic()
        each.starts += 1

    def _idle_seconds(self) -> float:
        """Short while something is to be started or waited for."""
        settled = all(each.done or (each.pid and each.is_ready) for each in self._all)
        return 5.0 if settled else 0.05

    def _take_in(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for each in self._all:
                if each.pid == pid:
                    self._ended(each, os.waitstatus_to_exitcode(status))

    def _ended(self, each: _Running, status: int) -> None:
        lived = time.monotonic() - each.since
        each.pid = 0
        if each.process:
            each.process.returncode = status
        if each.program.once and status == 0:
            each.done = True
            return
        print(f"{each.program.name} ended with {status} after {lived:.1f} s", flush=True)
        each.pause = FIRST_PAUSE if lived > STEADY_SECONDS else min(each.pause * 2, LONGEST_PAUSE)
        each.due = time.monotonic() + each.pause

    def _end_all(self) -> None:
        """First, together, what no other program waits for; then the others, the last to start first."""
        rest = [each for each in reversed(self._all) if each.program.ready is not None]
        self._end([each for each in self._all if each not in rest])
        for each in rest:
            self._end([each])
        self._write()

    def _end(self, those: Sequence[_Running]) -> None:
        for each in those:
            each.due = float("inf")
            if each.pid:
                os.kill(each.pid, signal.SIGTERM)
        end = time.monotonic() + max((each.program.patience for each in those), default=0.0)
        while any(each.pid for each in those) and time.monotonic() < end:
            self._wait(0.05)
            self._take_in()
        for each in those:
            if each.pid:
                os.kill(each.pid, signal.SIGKILL)

    def _write(self) -> None:
        text = json.dumps(
            {
                each.program.name: {
                    "pid": each.pid,
                    "starts": each.starts,
                    "once": each.program.once,
                    "ok": bool(each.done or (each.pid and each.is_ready)),
                }
                for each in self._all
            }
        )
        if text != self._written:
            temporary = self._directory / ".processes.json"
            temporary.write_text(text)
            temporary.replace(self._directory / "processes.json")
            self._written = text


def _home(user: str) -> dict[str, str]:
    return {"HOME": pwd.getpwnam(user).pw_dir, "USER": user} if user else {}

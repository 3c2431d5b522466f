"""The one place of the drivers that starts an external command (EN-15).

A command is a list of arguments, never text for a shell. It runs in its own process group, dies with this process, has a
timeout, and gets its limits (SE-9) before it does anything. `setpriv` and `prlimit` set the death signal and the limits
from the outside, so that no Python runs between fork and exec of a process that has threads.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WATCH_SECONDS = 0.5
_DYING = ("setpriv", "--pdeathsig", "KILL", "--")
_ALONE = (*_DYING, "unshare", "--user", "--map-current-user", "--net", "--")


class CommandFailed(Exception):
    """`status` is the exit status, negative for a signal; the text ends with what the command said about it."""

    def __init__(self, program: str, status: int, complaint: str) -> None:
        super().__init__(f"{program} ended with {status}: {complaint.strip()[-500:]}")
        self.status = status
        self.complaint = complaint


class CommandTimeout(Exception):
    """The command took longer than it was given, and was killed with all its children."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes, and seconds of processor time."""

    cpu_seconds: int
    address_space: int
    file_size: int


def run(
    command: Sequence[str],
    *,
    timeout: float,
    limits: Limits | None = None,
    watch: Callable[[], None] | None = None,
    alone: bool = False,
) -> str:
    """Standard output of the command. `watch` is called twice a second; when it raises, the command is killed.

    `alone`: in a network namespace of its own, in which there is nothing (SE-9).

    Raises CommandFailed, CommandTimeout, OSError, or what `watch` raises.
    """
    # The death signal is set again inside: the kernel forgets it when a process gets a user namespace.
    arguments = [*(_ALONE if alone else ()), *_DYING, *_limited(limits), *command]
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=_environment(limits),
    )
    try:
        output, complaint = _wait(process, command[0], timeout, watch)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode != 0:
        raise CommandFailed(command[0], process.returncode, complaint)
    return output


def _environment(limits: Limits | None) -> dict[str, str] | None:
    """With a limited address space, one heap for all threads: each would set another 64 MiB of it aside."""
    return None if limits is None else {**os.environ, "MALLOC_ARENA_MAX": "1"}


def _limited(limits: Limits | None) -> list[str]:
    if limits is None:
        return []
    return [
        "prlimit",
        f"--cpu={limits.cpu_seconds}",
        f"--as={limits.address_space}",
        f"--fsize={limits.file_size}",
        "--core=0",
        "--",
    ]


def _wait(
    process: "subprocess.Popen[str]", program: str, timeout: float, watch: Callable[[], None] | None
) -> tuple[str, str]:
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(timeout=min(WATCH_SECONDS, max(left, 0.0)))
        except subprocess.TimeoutExpired:
            if left <= 0:
                raise CommandTimeout(f"{program} took longer than {timeout:.0f} s") from None
        if watch is not None:
            watch()

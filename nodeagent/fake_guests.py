"""The guests of a FakeHost, as far as their agents go: commands with results that a test chose, files in memory.

They live in the process: a FakeHost with a path shares its domains with others, but not what runs in them.
"""

import hashlib
import itertools
import threading
from dataclasses import dataclass, field

from nodeagent.host import BlobFacts, CommandResult, Refused, Retry

BOOTED = 1_700_000_000.0


@dataclass
class FakeGuests:
    """`silent`: guests whose agent does not answer; `commands`: {command line: how it ends, or None while it runs}."""

    silent: set[str] = field(default_factory=set)
    commands: dict[str, CommandResult | None] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    modes: dict[tuple[str, str], int | None] = field(default_factory=dict)
    killed: list[int] = field(default_factory=list)
    _running: dict[int, str] = field(default_factory=dict)
    _pids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(100))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def require(self, instance: str, is_on: bool) -> None:
        if not is_on:
            raise Refused("guest.off", f"instance {instance} does not run")
        if instance in self.silent:
            raise Retry("guest.silent", "the guest's agent does not answer")

    def start(self, command_line: str) -> int:
        with self._lock:
            pid = next(self._pids)
            self._running[pid] = command_line
        return pid

    def result(self, pid: int) -> CommandResult | None:
        """Told once, as the agent does."""
        with self._lock:
            if pid not in self._running:
                raise Refused("guest.refused", f"pid {pid} is not known")
            result = self.commands.get(self._running[pid], CommandResult(code=0, stdout=b"", stderr=b""))
            if result is not None:
                del self._running[pid]
        return result

    def kill(self, pid: int) -> None:
        self.killed.append(pid)

    def read(self, instance: str, path: str, ceiling: int) -> bytes:
        if (instance, path) not in self.files:
            raise Refused("guest.refused", f"failed to open file '{path}': No such file or directory")
        content = self.files[instance, path]
        if len(content) > ceiling:
            raise Refused("guest.too_large", f"{path} has more than {ceiling} bytes")
        return content


def made_of(content: bytes) -> BlobFacts:
    """The facts of a blob with this content, which is no image."""
    return BlobFacts(
        size=len(content), sha512=hashlib.sha512(content).hexdigest(), format="other", virtual_size=len(content)
    )


def captured(blob: str) -> BlobFacts:
    """The facts of a disk that became `blob`."""
    return BlobFacts(size=2**20, sha512=hashlib.sha512(blob.encode()).hexdigest(), format="qcow2", virtual_size=2**30)

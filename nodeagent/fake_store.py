"""Where a FakeHost keeps what it holds: in memory, or in one JSON file that processes share and that survives a kill.

The state is replaced by rename, with the newest effect inside it; then the effect is appended to the log. Whoever opens
the file after a kill in between appends the missing line first, so that each effect is in the log exactly once.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTS = ("networks", "routers", "blobs", "disks", "sizes", "config_drives", "domains")


class FakeStore:
    """Not thread-safe by itself; one caller at a time. A change to what `exclusive` yields counts once it is committed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._held: dict[str, Any] = {part: {} for part in PARTS}
        self._effects: list[tuple[str, str]] = []

    @contextmanager
    def exclusive(self) -> Iterator[dict[str, Any]]:
        """What is held, shut against other processes."""
        if self._path is None:
            yield self._held
            return
        with open(self._path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._reload(self._path)
            yield self._held

    def commit(self, verb: str, thing: str) -> None:
        """Make the change durable and count it; only inside `exclusive`."""
        self._effects.append((verb, thing))
        if self._path is None:
            return
        document = {"held": self._held, "count": len(self._effects), "newest": [verb, thing]}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(self._path)
        self._append(self._path, verb, thing)
        self._seen = self._version(self._path)

    def effects(self) -> list[tuple[str, str]]:
        with self.exclusive():
            return list(self._effects)

    def _reload(self, path: Path) -> None:
        version = self._version(path)
        if version == self._seen:
            return
        document = json.loads(path.read_text())
        self._held = document["held"]
        self._effects = self._read_log(path)
        if len(self._effects) < document["count"]:
            verb, thing = document["newest"]
            self._effects.append((verb, thing))
            self._append(path, verb, thing)
        self._seen = version

    def _version(self, path: Path) -> tuple[int, int] | None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _read_log(self, path: Path) -> list[tuple[str, str]]:
        log = path.with_suffix(".effects")
        lines = log.read_text().splitlines() if log.exists() else []
        return [(verb, thing) for verb, thing in (line.split(" ", 1) for line in lines)]

    def _append(self, path: Path, verb: str, thing: str) -> None:
        with open(path.with_suffix(".effects"), "a") as log:
            log.write(f"{verb} {thing}\n")

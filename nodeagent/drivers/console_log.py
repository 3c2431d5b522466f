"""An instance's console log: QEMU appends to one file; its last MiB is kept, and a guest cannot fill the disk (SE-10).

When the live file passes 2 MiB its last MiB becomes the older file and the live one is cut to nothing. QEMU goes on
appending to the same file; what it writes within that instant may be lost.
"""

import os
from pathlib import Path

KEPT = 2**20
LIMIT = 2 * 2**20


def prepare(log: Path) -> None:
    """Make the file the agent's before QEMU's: libvirt opens it as root, and would make it root's to read."""
    log.touch(mode=0o640)


def read(log: Path, length: int) -> bytes:
    """The last `length` bytes, at most the kept MiB; empty when the console has said nothing."""
    wanted = min(max(length, 0), KEPT)
    recent = _tail(log, wanted)
    return _tail(_older(log), wanted - len(recent)) + recent


def clear(log: Path) -> None:
    _older(log).unlink(missing_ok=True)
    if log.exists():
        os.truncate(log, 0)


def trim(log: Path) -> bool:
    """Cut the live file when it has grown past the limit; true when it had."""
    try:
        if log.stat().st_size <= LIMIT:
            return False
    except FileNotFoundError:
        return False
    temporary = log.with_name(f".{log.name}.trim")
    temporary.write_bytes(_tail(log, KEPT))
    temporary.replace(_older(log))
    os.truncate(log, 0)
    return True


def _older(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def _tail(path: Path, length: int) -> bytes:
    if length <= 0:
        return b""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - length))
            return file.read(length)
    except FileNotFoundError:
        return b""

"""Uploads: files that grow by chunks until they become blobs.

A chunk names its offset, so sending it again changes nothing. Whoever writes holds the file's lock, and so does the one
that turns it into a blob: no byte changes between the checksum and the moment at which the file is nobody's to write.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Protocol

from nodeagent.drivers.layout import Layout, remove

CHUNK = 2**20


class Gap(Exception):
    """The chunk begins beyond the end; `size` is how much is there, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the upload has {size} bytes")
        self.size = size


class Readable(Protocol):
    def read(self, most: int, /) -> bytes: ...


class Uploads:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def size(self, upload: str) -> int:
        """Bytes that are here, 0 when there is no such upload."""
        try:
            return self._layout.upload(upload).stat().st_size
        except FileNotFoundError:
            return 0

    def write(self, upload: str, offset: int, body: Readable, length: int) -> int:
        """Put `length` bytes of `body` at `offset`; the upload's new size. Of a body that ends early, what came counts.

        Raises Gap, or OSError when the disk is full or the sender falls silent; what is written by then stays.
        """
        with held(self._layout.upload(upload)) as file:
            size = os.fstat(file.fileno()).st_size
            if offset > size:
                raise Gap(size)
            file.seek(offset)
            _copy(body, file, length)
            return os.fstat(file.fileno()).st_size

    def truncate(self, upload: str, offset: int) -> int:
        """Cut to at most `offset` bytes; the new size."""
        with held(self._layout.upload(upload)) as file:
            size = min(offset, os.fstat(file.fileno()).st_size)
            os.truncate(file.fileno(), size)
            return size

    def remove(self, upload: str) -> bool:
        return remove(self._layout.upload(upload))


@contextmanager
def held(path: Path) -> Iterator[FileIO]:
    """The upload's file, made when it is missing, for one writer or adopter at a time."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with FileIO(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_still(path, file):
                continue
            yield file
            return


def _is_still(path: Path, file: FileIO) -> bool:
    """Whether the path still names that file: it may have become a blob while this writer waited for the lock."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _copy(body: Readable, file: FileIO, length: int) -> None:
    while length and (chunk := body.read(min(CHUNK, length))):
        length -= len(chunk)
        while chunk:
            chunk = chunk[file.write(chunk) :]
    os.fsync(file.fileno())

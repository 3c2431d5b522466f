"""Every hash that the cloud keeps of a blob, computed in one pass while its bytes go by (BL-2)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

CHUNK = 2**20
ALGORITHMS: dict[str, Callable[[], Any]] = {
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "xxh128": xxhash.xxh128,
}


@dataclass(frozen=True, kw_only=True)
class Content:
    """What some bytes turned out to be: how many, and {algorithm: hex}."""

    size: int
    hashes: dict[str, str]

    @property
    def sha512(self) -> str:
        return self.hashes["sha512"]


class Digests:
    def __init__(self) -> None:
        self._size = 0
        self._all = {name: make() for name, make in ALGORITHMS.items()}

    def update(self, chunk: bytes) -> None:
        self._size += len(chunk)
        for digest in self._all.values():
            digest.update(chunk)

    def content(self) -> Content:
        return Content(size=self._size, hashes={name: digest.hexdigest() for name, digest in self._all.items()})


def of_file(path: Path, tell: Callable[[int], None]) -> Content:
    """Read the file once; `tell` is given how many bytes went by so far."""
    digests, done = Digests(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digests.update(chunk)
            done += len(chunk)
            tell(done)
    return digests.content()

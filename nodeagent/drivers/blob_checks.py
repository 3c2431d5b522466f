"""Reading every blob again, slowly and in a circle, so that a dying disk is noticed before the copy is needed (BL-4).

A file is read in slices, for the one who asks has more to do; between two slices it may go or be replaced. A restart
begins somewhere else in the circle, so that no blob is always the last.
"""

import hashlib
import os
import random
import time
from typing import Any

from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.layout import Layout
from nodeagent.host import BlobCheck, BlobFacts

CHUNK = 2**20
REST_SECONDS = 86400.0
"""Between the end of one reading of a blob and the beginning of the next."""


class BlobChecks:
    """Not thread-safe; one a process."""

    def __init__(self, layout: Layout, blobs: Blobs) -> None:
        self._layout = layout
        self._blobs = blobs
        self._last = f"{random.randrange(16):x}"
        self._read_at: dict[str, float] = {}
        self._reading: tuple[BlobFacts, int, Any, int] | None = None

    def advance(self, budget: int) -> list[BlobCheck]:
        """Read `budget` bytes at most, each blob at most once; those whose end was reached."""
        found: list[BlobCheck] = []
        seen: set[str] = set()
        while budget > 0:
            if self._reading is None and not self._begin(seen):
                break
            seen.add(self._last)
            used, check = self._read(budget)
            budget -= used
            if check is not None:
                self._reading = None
                self._read_at[self._last] = time.monotonic()
                found += [check] if check.sha512 or check.reason else []
        return found

    def _begin(self, seen: set[str]) -> bool:
        """Take the next blob of the circle; False when there is none that was not read in this call."""
        known = sorted(self._layout.known_blobs())
        circle = [name for name in known if name > self._last] + [name for name in known if name <= self._last]
        self._read_at = {name: at for name, at in self._read_at.items() if name in known}
        rested = time.monotonic() - REST_SECONDS
        for name in circle:
            due = name not in seen and self._read_at.get(name, rested) <= rested
            facts = self._blobs.facts(name) if due else None
            if facts is not None:
                self._last = name
                self._reading = (facts, 0, hashlib.sha512(), self._inode())
                return True
        return False

    def _read(self, budget: int) -> tuple[int, BlobCheck | None]:
        assert self._reading is not None
        facts, offset, digest, inode = self._reading
        path, used = self._layout.blob(self._last), 0
        try:
            if self._inode() != inode:
                return 1, _nothing(self._last)  # replaced meanwhile: its turn comes again
            with path.open("rb") as file:
                file.seek(offset)
                while used < budget and (chunk := file.read(min(CHUNK, budget - used))):
                    digest.update(chunk)
                    used += len(chunk)
        except FileNotFoundError:
            return 1, _nothing(self._last)  # taken away meanwhile; the inventory says so
        except OSError as error:
            reason = f"unreadable: {os.strerror(error.errno or 0)}"
            return max(used, 1), BlobCheck(blob=self._last, sha512="", reason=reason)
        if used >= budget and offset + used < facts.size:
            self._reading = (facts, offset + used, digest, inode)
            return used, None
        same = digest.hexdigest() == facts.sha512
        reason = "" if same else "the content is not what it was when it came"
        return max(used, 1), BlobCheck(blob=self._last, sha512=digest.hexdigest(), reason=reason)

    def _inode(self) -> int:
        return self._layout.blob(self._last).stat().st_ino


def _nothing(blob: str) -> BlobCheck:
    return BlobCheck(blob=blob, sha512="")

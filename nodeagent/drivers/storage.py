"""Does this node's storage still take what is written to it? Asked by writing, never by looking (NH-1).

A hung file system hangs whoever writes to it, so each probe has a deadline; one that has not come back keeps the next ones
about the same folder from piling up behind it.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from nodeagent.drivers.deadline import Deadlines
from nodeagent.drivers.layout import Layout, flush, remove
from nodeagent.host import Retry

SECONDS = 10.0
PROBE = ".probe"
CONTENT = b"steadyfist" * 400


class Storage:
    def __init__(self, layout: Layout, seconds: float = SECONDS) -> None:
        self._folders = {"blobs": layout.blobs, "instances": layout.instances, "uploads": layout.uploads}
        self._seconds = seconds
        self._deadlines = Deadlines("storage.stuck")

    def probe(self) -> Mapping[str, str]:
        """{part: what is wrong with it} of the parts that failed."""
        failed = {}
        for part, folder in self._folders.items():
            try:
                self._deadlines.run(part, self._seconds, partial(_write, folder))
            except Retry as error:
                failed[part] = str(error)
            except OSError as error:
                failed[part] = os.strerror(error.errno) if error.errno else str(error)
        return failed


def _write(folder: Path) -> None:
    """Write, flush, read back, remove."""
    path = folder / PROBE
    try:
        path.write_bytes(CONTENT)
        flush(path)
        if path.read_bytes() != CONTENT:
            raise OSError("what was written is not what is read")
    finally:
        remove(path)

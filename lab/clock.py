"""A clock that a test moves, for a server of its choice: Debian's libfaketime, preloaded, looks at a file each time.

Only the time of day moves; the monotonic clock runs on as ever. MariaDB takes that well. Python 3.11 does not: in its
`sleep` and its locks the library of Debian 12 confuses the two clocks, so they fail or wait for ever.
"""

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = Path("/usr/lib")
LIBRARY = "*/faketime/libfaketimeMT.so.1"


@dataclass(frozen=True)
class Clock:
    """`file` holds how many seconds the clock is away from the machine's; a process with `environment` goes by it."""

    file: Path

    def show(self, moment: datetime.datetime) -> None:
        """Put it to this moment, from which it runs on."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{moment.timestamp() - time.time():+.6f}\n")
        new.rename(self.file)  # a reader finds the former or the new time, never half of one

    @property
    def environment(self) -> Mapping[str, str]:
        """Raises StopIteration where libfaketime is not installed."""
        return {
            "LD_PRELOAD": str(next(LIBRARIES.glob(LIBRARY))),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

"""Whether this process may be sent requests, kept in memory by a thread that looks for itself.

Ready means: the database answers (HC-23). The thread belongs to the process that started it and is started after the
fork, because threads do not survive one (HC-5). A thread that died leaves an old mark, and an old mark is not ready
(HC-8).
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from django.db import connections

log = logging.getLogger(__name__)
PERIOD_SECONDS = 5.0
CHECK_SECONDS = 2
FAILURES = 3
STALE_SECONDS = 15.0


class Readiness:
    """The mark itself: not ready at first, three failures to lose it, one success to gain it (HC-6, HC-7)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = FAILURES
        self._marked_at: float | None = None

    def succeeded(self) -> None:
        self._failures = 0
        self._marked_at = self._clock()

    def failed(self) -> None:
        self._failures = min(self._failures + 1, FAILURES)
        self._marked_at = self._clock()

    @property
    def is_ready(self) -> bool:
        fresh = self._marked_at is not None and self._clock() - self._marked_at <= STALE_SECONDS
        return fresh and self._failures < FAILURES


class Checker:
    """Runs `check` every five seconds in a daemon thread and marks the readiness."""

    def __init__(self, check: Callable[[], None], period: float = PERIOD_SECONDS) -> None:
        self.readiness = Readiness()
        self._check = check
        self._period = period
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()

    def start(self) -> None:
        """Start the thread of this process; in a process that has started it once, do nothing."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._stop = threading.Event()
            threading.Thread(target=self._run, args=(self._stop,), name="readiness", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look()
            stop.wait(self._period)

    def look(self) -> None:
        """One check and its mark."""
        before = self.readiness.is_ready
        try:
            self._check()
            self.readiness.succeeded()
        except Exception as error:  # any reason counts alike, and the thread must live
            self.readiness.failed()
            log.debug("the readiness check failed: %s", error)
        if self.readiness.is_ready != before:
            log.info("ready" if self.readiness.is_ready else "not ready")


def ask_database() -> None:
    """One round trip on a connection of its own, with short limits; raises whatever went wrong."""
    connection = connections.create_connection("default")
    limits = {"connect_timeout": CHECK_SECONDS, "read_timeout": CHECK_SECONDS, "write_timeout": CHECK_SECONDS}
    connection.settings_dict = {
        **connection.settings_dict,
        "OPTIONS": {**connection.settings_dict["OPTIONS"], **limits},
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


checker = Checker(ask_database)
"""The one of this process."""

"""What goes wrong in a FakeHost, verb by verb: chosen by a test, or drawn by a seed."""

import random
import threading
import time
from collections import defaultdict

from nodeagent.host import Retry


class Crash(BaseException):
    """The process dies here; no `except Exception` catches it, just as none catches a kill."""


class Faults:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._failures: dict[str, list[Exception]] = defaultdict(list)
        self._delays: dict[str, float] = {}
        self._crashes: dict[tuple[str, str], int] = defaultdict(int)
        self._shares = (0.0, 0.0)

    def fail_next(self, verb: str, exception: Exception, times: int = 1) -> None:
        """The next `times` calls of `verb` raise `exception` and change nothing."""
        with self._lock:
            self._failures[verb] += [exception] * times

    def delay(self, verb: str, seconds: float) -> None:
        """From now on every call of `verb` first takes `seconds`."""
        self._delays[verb] = seconds

    def crash_before(self, verb: str, times: int = 1) -> None:
        """The next `times` calls of `verb` raise Crash and change nothing."""
        self._crashes["before", verb] += times

    def crash_after(self, verb: str, times: int = 1) -> None:
        """The next `times` calls of `verb` do their work and then raise Crash."""
        self._crashes["after", verb] += times

    def unreliable(self, retry: float, unknown: float) -> None:
        """From now on this share (0 to 1) of all calls raises Retry, and that one an unknown error."""
        self._shares = (retry, unknown)

    def clear(self) -> None:
        """What was to fail or to crash no longer is; delays and shares stay."""
        with self._lock:
            self._failures.clear()
            self._crashes.clear()

    def before(self, verb: str) -> None:
        time.sleep(self._delays.get(verb, 0))
        self._crash("before", verb)
        with self._lock:
            if self._failures[verb]:
                raise self._failures[verb].pop(0)
            draw, (retry, unknown) = self._random.random(), self._shares
        if draw < retry:
            raise Retry("fake.transient", f"{verb}: drawn by the seed")
        if draw < retry + unknown:
            raise RuntimeError(f"{verb}: drawn by the seed")

    def after(self, verb: str) -> None:
        self._crash("after", verb)

    def _crash(self, when: str, verb: str) -> None:
        with self._lock:
            if self._crashes[when, verb] == 0:
                return
            self._crashes[when, verb] -= 1
        raise Crash(f"{when} {verb}")

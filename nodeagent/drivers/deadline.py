"""Calls that may never return, each under a deadline of the caller's (a monitor that hangs hangs libvirt's call).

A call that is past its deadline cannot be ended; it is left to its thread, and what it was about is "stuck" until it
returns. While it is, nothing else about the same thing is started, so hung calls do not pile up.
"""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from nodeagent.host import Retry

T = TypeVar("T")


class Deadlines:
    def __init__(self, code: str) -> None:
        self._code = code
        self._lock = threading.Lock()
        self._stuck: set[str] = set()

    @property
    def stuck(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._stuck)

    def run(self, thing: str, seconds: float, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Raises Retry when `thing` is stuck, or becomes so now."""
        if thing in self.stuck:
            raise Retry(self._code, f"an earlier call about {thing} has not returned")
        answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        returned = threading.Event()

        def work() -> None:
            try:
                answer.put((call(), None))
            except BaseException as error:
                answer.put((None, error))
            finally:
                with self._lock:
                    returned.set()
                    self._stuck.discard(thing)

        threading.Thread(target=work, name=f"call-{thing}", daemon=True).start()
        try:
            result, error = answer.get(timeout=seconds)
        except queue.Empty:
            self._mark(thing, returned)
            raise Retry(self._code, f"{thing}: no answer within {seconds:.0f} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _mark(self, thing: str, returned: threading.Event) -> None:
        with self._lock:
            if not returned.is_set():
                self._stuck.add(thing)

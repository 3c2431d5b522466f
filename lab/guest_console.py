"""Speaking with a guest over its serial console: wait for a line, run a command and get its status and output.

One client at a time: what a guest says while nobody is connected is in its console log, not here.
"""

import itertools
import re
import socket
import time
from types import TracebackType


class GuestConsole:
    """Over TCP to (address, port), or over a socket that is connected already, for a guest in another namespace."""

    def __init__(self, way: tuple[str, int] | socket.socket, connect_seconds: float = 10.0) -> None:
        self._socket = way if isinstance(way, socket.socket) else _connected(way, connect_seconds)
        self._heard = ""
        self._numbers = itertools.count(1)

    def __enter__(self) -> "GuestConsole":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def wait(self, pattern: str, seconds: float = 90.0) -> re.Match[str]:
        """The first match in what was heard and not yet taken; takes everything up to its end.

        Raises TimeoutError with the end of what was heard, or EOFError when the guest's console closed.
        """
        expression = re.compile(pattern, re.DOTALL)
        end = time.monotonic() + seconds
        while not (match := expression.search(self._heard)):
            self._listen(end, pattern)
        self._heard = self._heard[match.end() :]
        return match

    def send(self, text: str) -> None:
        """Type it, as it is."""
        self._socket.settimeout(10.0)
        self._socket.sendall(text.encode())

    def run(self, command: str, seconds: float = 30.0) -> tuple[int, str]:
        """Exit status and output (both streams) of one shell command. Needs a guest whose shell waits for input."""
        number = next(self._numbers)
        # The marks are put together by the shell, so that its echo of the input does not contain them.
        line = f"stty -echo; echo 'begin''-{number}'; ( {command}\n) 2>&1; echo 'end''-{number}' $?\n"
        self.send(line)
        match = self.wait(rf"begin-{number}\r?\n(.*?)end-{number} (\d+)\r?\n", seconds)
        return int(match[2]), match[1].replace("\r", "")

    def _listen(self, end: float, pattern: str) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{pattern!r} was not heard; the last was {self._heard[-500:]!r}")
        self._socket.settimeout(left)
        try:
            received = self._socket.recv(65536)
        except TimeoutError:
            return
        if not received:
            raise EOFError(f"the console closed; the last was {self._heard[-500:]!r}")
        self._heard += received.decode(errors="replace")


def _connected(place: tuple[str, int], seconds: float) -> socket.socket:
    """A guest that was just started may not listen yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(place, timeout=seconds)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)

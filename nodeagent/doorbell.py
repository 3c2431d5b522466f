"""Waking another process of the same node: an empty datagram on a unix socket. A lost one costs at most a poll."""

import os
import socket
from pathlib import Path


class Doorbell:
    """The waiting side. One process at a time listens on a path; a left-over socket file is replaced."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        os.chmod(path, 0o600)

    def wait(self, seconds: float) -> bool:
        """True when somebody rang within `seconds`; several rings count as one."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            self._socket.recv(1)
        except TimeoutError:
            return False
        self._drain()
        return True

    def _drain(self) -> None:
        self._socket.setblocking(False)
        while True:
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


def ring(path: Path) -> None:
    """Wake the process that listens on `path`; nothing happens when none does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        try:
            bell.sendto(b"!", str(path))
        except OSError:
            pass

"""rtnetlink over one plain socket that stays bound to the network namespace it was made in.

pyroute2 supplies the message formats only. Its own sockets are made anew for each thread that uses them, in whatever
namespace that thread is in, which is not something to build namespaces on. An error carries the errno, the object's
name and the kernel's own words (NL-4).
"""

import os
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from nodeagent.nethelper.protocol import NetworkError

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30

ACK, DUMP, REPLACE, CREATE, EXCLUSIVE, APPEND = 0x4, 0x300, 0x100, 0x400, 0x200, 0x800
_REQUEST = 0x1
_HEADER = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_MESSAGE_TEXT = 1
_PARSERS: dict[int, Any] = {NEWLINK: ifinfmsg, NEWADDR: ifaddrmsg, NEWROUTE: rtmsg, NEWNEIGH: ndmsg}
_REPLY_SECONDS = 5.0
_PACKET = 1 << 16
# Room for the answers to a batch of some thousands of changes, past the limit for those without the power to do this.
_RCVBUFFORCE, _ANSWERS = 33, 4 << 20


@dataclass(frozen=True)
class Write:
    """One change: `accept` lists the errnos that mean that it is already so."""

    message: Any
    kind: int
    flags: int
    name: str
    accept: tuple[int, ...] = ()


class Netlink:
    """Requests to the kernel, one exchange at a time. `writes` counts the changes asked for since the socket was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._socket.settimeout(_REPLY_SECONDS)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _ANSWERS)
        self._lock = threading.Lock()
        self._sequence = 0
        self.writes = 0

    def close(self) -> None:
        self._socket.close()

    def get(self, message: Any, kind: int, name: str, missing: Sequence[int] = ()) -> Any:
        """The one object asked for, or None when the kernel answers one of the errnos `missing`."""
        with self._lock:
            sequence = self._send(message, kind, 0)
            for found in self._replies([sequence], {sequence: (name, tuple(missing))}, single=True):
                return found
        return None

    def dump(self, message: Any, kind: int, name: str) -> list[Any]:
        with self._lock:
            sequence = self._send(message, kind, DUMP)
            return list(self._replies([sequence], {sequence: (name, ())}))

    def write(self, changes: Iterable[Write]) -> None:
        """Ask for all changes in one send and wait for every answer; raises for the first that failed (NL-5)."""
        with self._lock:
            wanted: dict[int, tuple[str, tuple[int, ...]]] = {}
            packet = bytearray()
            for change in changes:
                self._sequence += 1
                wanted[self._sequence] = (change.name, change.accept)
                packet += _encode(change.message, change.kind, change.flags | ACK, self._sequence)
            self.writes += len(wanted)
            if wanted:
                self._socket.send(packet)
                list(self._replies(list(wanted), wanted))

    def _send(self, message: Any, kind: int, flags: int) -> int:
        self._sequence += 1
        self._socket.send(_encode(message, kind, flags, self._sequence))
        return self._sequence

    def _replies(
        self, waiting: list[int], names: dict[int, tuple[str, tuple[int, ...]]], single: bool = False
    ) -> Iterable[Any]:
        """Objects answered to the sequences `waiting`, until each has ended. An older exchange's leftovers are skipped."""
        failed: NetworkError | None = None
        found: list[Any] = []
        while waiting:
            for kind, sequence, body in _messages(self._receive(names[waiting[0]][0])):
                if sequence not in waiting:
                    continue
                if kind == _ERROR:
                    failed = failed or _failure(body, *names[sequence])
                elif kind != _DONE:
                    found.append(_decode(kind, body))
                if kind in (_ERROR, _DONE) or single:
                    waiting.remove(sequence)
        if failed:
            raise failed
        return found

    def _receive(self, name: str) -> bytes:
        try:
            return self._socket.recv(_PACKET)
        except OSError as error:
            raise NetworkError(error.errno or 0, name, f"rtnetlink: {error}") from error


def _encode(message: Any, kind: int, flags: int, sequence: int) -> bytes:
    message["header"]["type"] = kind
    message["header"]["flags"] = flags | _REQUEST
    message["header"]["sequence_number"] = sequence
    message["header"]["pid"] = 0
    message.reset()
    message.encode()
    data = bytes(message.data)
    return data + b"\0" * (-len(data) % 4)


def _messages(packet: bytes) -> Iterable[tuple[int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(packet):
        length, kind, _, sequence, _ = _HEADER.unpack_from(packet, offset)
        yield kind, sequence, packet[offset : offset + length]
        offset += (length + 3) & ~3


def _decode(kind: int, body: bytes) -> Any:
    message = _PARSERS[kind](body)
    message.decode()
    return message


def _failure(body: bytes, name: str, accept: tuple[int, ...]) -> NetworkError | None:
    code = -struct.unpack_from("=i", body, _HEADER.size)[0]
    if code == 0 or code in accept:
        return None
    # After the error number stands the header of the request, then the attributes of the extended answer.
    offset = _HEADER.size + 4 + _HEADER.size
    words = ""
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if kind == _MESSAGE_TEXT:
            words = body[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += max((length + 3) & ~3, 4)
    return NetworkError(code, name, words or os.strerror(code))

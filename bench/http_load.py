"""Many clients that ask an HTTP server as fast as it answers, each over one kept connection, in one event loop.

The same for every side of a comparison, so what the client costs is the same for all.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Cycle = Callable[["Link"], Awaitable[str]]
"""One unit of work over a link; what it came to, in a word. "done" is what is counted as done."""


class Link:
    """A kept connection to 127.0.0.1. Speaks as much HTTP/1.1 as the sides need: no chunks."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._port = port
        lines = {"Host": "127.0.0.1", "Accept": "application/json", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """(status, text); one more try over a new connection where the server has closed the old one unread."""
        for is_last in (False, True):
            reader, writer = self._streams or await self._connect()
            writer.write(self._request(method, path, body))
            line = await reader.readline()
            if line:
                return await self._answer(reader, int(line.split()[1]))
            self.close()
            if is_last:
                raise ConnectionError("the server hangs up")
        raise AssertionError("unreachable")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams

    def _request(self, method: str, path: str, body: Any) -> bytes:
        text = b"" if body is None else json.dumps(body).encode()
        typed = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n" if text else ""
        return f"{method} {path} HTTP/1.1\r\n{self._headers}{typed}\r\n".encode() + text

    async def _answer(self, reader: asyncio.StreamReader, status: int) -> tuple[int, bytes]:
        length, closes = 0, False
        while header := (await reader.readline()).strip().lower():
            name, _, value = header.partition(b":")
            length = int(value) if name == b"content-length" else length
            closes = closes or header == b"connection: close"
        text = await reader.readexactly(length)
        if closes:
            self.close()
        return status, text

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def drive(
    port: int, headers: Mapping[str, str], cycle: Cycle, *, clients: int, seconds: float = 600.0, most: int = 10**9
) -> tuple[Counter[str], float]:
    """({outcome: how often}, seconds until the last answer) of `clients` that repeat `cycle`, `most` times together."""
    return asyncio.run(_drive([Link(port, headers) for _ in range(clients)], cycle, seconds, most))


async def _drive(links: list[Link], cycle: Cycle, seconds: float, most: int) -> tuple[Counter[str], float]:
    outcomes: Counter[str] = Counter()
    begin, left = time.perf_counter(), iter(range(most))

    async def client(link: Link) -> None:
        while time.perf_counter() - begin < seconds and next(left, None) is not None:
            outcomes[await cycle(link)] += 1
        link.close()

    await asyncio.gather(*(client(link) for link in links))
    return outcomes, time.perf_counter() - begin


def rate(port: int, headers: Mapping[str, str], cycle: Cycle, *, clients: int, seconds: float) -> float:
    """How many a second were done; fails when one was not."""
    outcomes, took = drive(port, headers, cycle, clients=clients, seconds=seconds)
    assert set(outcomes) == {"done"}, outcomes
    return outcomes["done"] / took

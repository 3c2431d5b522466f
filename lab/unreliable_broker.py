"""A broker that loses and doubles: a proxy before Redis, `python -m lab.unreliable_broker LISTEN REDIS [N]`.

Between SIGUSR1 and SIGUSR2 every Nth message that is pushed to a queue of a node is lost, and every Nth, half a round
later, arrives twice. All else passes as it is. The answers need no change, because a lost push becomes a question of the
queue's length and a doubled one a push of two; each of them is a line on standard output.
"""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Iterator

NODE_QUEUE = b"node."
CHUNK = 65536


class Commands:
    """Cuts what a client sends into commands: arrays of byte strings, as redis-py writes them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[list[bytes]]:
        """Every command that is complete by now. Raises ValueError for what is no array of byte strings."""
        self._rest += received
        while True:
            command, end = self._next()
            if command is None:
                return
            self._rest = self._rest[end:]
            yield command

    def _next(self) -> tuple[list[bytes] | None, int]:
        count, at = self._number(0, b"*")
        if count is None:
            return None, 0
        words = []
        for _ in range(count):
            length, at = self._number(at, b"$")
            if length is None or len(self._rest) < at + length + 2:
                return None, 0
            words.append(self._rest[at : at + length])
            at += length + 2
        return words, at

    def _number(self, at: int, mark: bytes) -> tuple[int | None, int]:
        end = self._rest.find(b"\r\n", at)
        if end < 0:
            return None, at
        if self._rest[at : at + 1] != mark:
            raise ValueError("this is not the protocol of Redis")
        return int(self._rest[at + 1 : end]), end + 2


def pack(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Mischief:
    """Decides what becomes of each push, by counting over all connections."""

    def __init__(self, every: int) -> None:
        self.active = False
        self._every = every
        self._count = 0

    def spoil(self, words: list[bytes]) -> list[bytes]:
        """The command, or what takes its place."""
        if not self.active or len(words) != 3 or words[0].upper() != b"LPUSH" or not words[1].startswith(NODE_QUEUE):
            return words
        self._count += 1
        if self._count % self._every == 0:
            print("lost", words[1].decode(), flush=True)
            return [b"LLEN", words[1]]
        if self._count % self._every == self._every // 2:
            print("doubled", words[1].decode(), flush=True)
            return [*words, words[2]]
        return words


class Proxy:
    def __init__(self, redis: tuple[str, int], mischief: Mischief) -> None:
        self._redis = redis
        self._mischief = mischief

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client until either side ends."""
        try:
            from_redis, to_redis = await asyncio.open_connection(*self._redis)
        except OSError:
            writer.close()
            return
        ways = [asyncio.create_task(self._forth(reader, to_redis)), asyncio.create_task(self._back(from_redis, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, to_redis):
            end.close()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = Commands()
        with contextlib.suppress(OSError):
            while received := await reader.read(CHUNK):
                for words in commands.feed(received):
                    writer.write(pack(self._mischief.spoil(words)))
                await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while received := await reader.read(CHUNK):
                writer.write(received)
                await writer.drain()


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def run(listen: tuple[str, int], redis: tuple[str, int], every: int) -> None:
    """Until SIGTERM."""
    mischief = Mischief(every)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, setattr, mischief, "active", True)
    loop.add_signal_handler(signal.SIGUSR2, setattr, mischief, "active", False)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(Proxy(redis, mischief).serve, *listen)
    await ended.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.unreliable_broker", description=__doc__)
    parser.add_argument("listen", type=_place)
    parser.add_argument("redis", type=_place)
    parser.add_argument("every", type=int, nargs="?", default=10)
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.redis, options.every))


if __name__ == "__main__":
    main()

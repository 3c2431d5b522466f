"""Carries TCP connections between two network namespaces: it listens in one and connects in the other.

A socket stays in the namespace that it was made in, so one process serves both sides: `python -m lab.forward ROUTE...`,
a route being `NAMESPACE/ADDRESS:PORT=NAMESPACE/ADDRESS:PORT`, where an empty namespace is the one it was started in.
"""

import asyncio
import ctypes
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Route:
    """Where to listen and where to connect: each a namespace's name and ADDRESS:PORT."""

    listen_in: str
    listen: str
    connect_in: str
    connect: str

    def __str__(self) -> str:
        return f"{self.listen_in}/{self.listen}={self.connect_in}/{self.connect}"

    @staticmethod
    def parse(text: str) -> "Route":
        (listen_in, listen), (connect_in, connect) = (end.split("/", 1) for end in text.split("=", 1))
        return Route(listen_in, listen, connect_in, connect)


def place(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)


def new_socket(namespace: str) -> socket.socket:
    """A TCP socket of a namespace, given by name or path; this thread is back where it was when it returns."""
    if not namespace:
        return socket.socket()
    path = namespace if namespace.startswith("/") else f"/run/netns/{namespace}"
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(path, os.O_RDONLY)
    try:
        _enter(there)
        try:
            return socket.socket()
        finally:
            _enter(home)
    finally:
        os.close(there)
        os.close(home)


def listener(namespace: str, address: str) -> socket.socket:
    made = new_socket(namespace)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(place(address))
    made.listen(128)
    return made


async def connected(namespace: str, address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    made = new_socket(namespace)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return await asyncio.open_connection(sock=made, limit=CHUNK)


async def join(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Carry bytes both ways until both sides have said their last."""
    try:
        await asyncio.gather(_carry(one[0], other[1]), _carry(other[0], one[1]))
    finally:
        one[1].close()
        other[1].close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()
        target.write_eof()
        return
    target.close()


async def serve(route: Route) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await connected(route.connect_in, place(route.connect))
        except OSError:
            writer.close()
            return
        await join((reader, writer), far)

    server = await asyncio.start_server(accept, sock=listener(route.listen_in, route.listen), limit=CHUNK)
    await server.serve_forever()


async def _serve_all(routes: list[Route]) -> None:
    await asyncio.gather(*(serve(route) for route in routes))


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    asyncio.run(_serve_all([Route.parse(text) for text in sys.argv[1:]]))

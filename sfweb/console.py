"""The console process: `python -m sfweb.console`. One websocket, one ticket, one serial console.

The first message of a websocket is its ticket; everything after goes to the guest's serial line, and everything that the
guest writes comes back. A browser must come from one of CONSOLE_ORIGINS. When either side ends, both do. The process keeps
nothing: run as many as you like.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")
django.setup()

from django.conf import settings  # noqa: E402  (settings exist once Django is set up)
from django.db import Error, close_old_connections  # noqa: E402
from websockets.asyncio.server import ServerConnection, serve  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

from sfweb.domain import consoles  # noqa: E402
from sfweb.errors import SteadyfistError  # noqa: E402
from sfweb.models import ConsoleTicket, Instance  # noqa: E402
from sfweb.node_bytes import make_ticket  # noqa: E402
from sfweb.schema import require_current_schema  # noqa: E402

log = logging.getLogger(__name__)
Asked, Told = TypeVar("Asked"), TypeVar("Told")
TICKET_SECONDS = 10.0
CONNECT_SECONDS = 5.0
RECHECK_SECONDS = 10.0
"""How long a console can stay open when the key that opened it has ended."""
CHUNK = 65536
REFUSED, UNREACHABLE = 4401, 4503
"""Close codes: the ticket was refused; the node or its guest does not answer."""


async def attend(browser: ServerConnection) -> None:
    """One websocket from its ticket to its end."""
    try:
        text = await asyncio.wait_for(browser.recv(), TICKET_SECONDS)
        text = text if isinstance(text, str) else text.decode(errors="replace")
        ticket = await asyncio.to_thread(_with_database, consoles.redeem, text)
    except (SteadyfistError, TimeoutError, ConnectionClosed) as error:
        await browser.close(REFUSED, str(error)[:100])
        return
    try:
        reader, writer = await asyncio.wait_for(_open(ticket.instance), CONNECT_SECONDS)
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        log.warning("console unreachable", extra={"instance": str(ticket.instance_id), "error": str(error)})
        await browser.close(UNREACHABLE, "the node does not answer")
        return
    await _relay(browser, reader, writer, ticket)


def _with_database(ask: Callable[[Asked], Told], asked: Asked) -> Told:
    """For threads that ask only now and then: a connection that went stale meanwhile is not used."""
    close_old_connections()
    try:
        return ask(asked)
    finally:
        close_old_connections()


async def _until_revoked(ticket: ConsoleTicket) -> None:
    """Ends when the key that asked for the ticket, or the instance, has gone. A database that is away revokes nothing."""
    while True:
        await asyncio.sleep(RECHECK_SECONDS * settings.TIME_SCALE)
        try:
            if not await asyncio.to_thread(_with_database, consoles.may_stay, ticket):
                return
        except Error as error:
            log.warning("a console's right could not be looked at", extra={"error": str(error)})


async def _open(instance: Instance) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The instance's serial line through its node's byte server; ValueError when that refuses."""
    node = instance.node
    assert node is not None, "a redeemed ticket has a node"
    reader, writer = await asyncio.open_connection(node.mesh_address, node.byte_port, limit=CHUNK)
    ticket = make_ticket(node, "stream_console", instance.pk, port=instance.console_port)
    lines = [
        f"GET /console/{instance.pk}/stream HTTP/1.1",
        f"Host: {node.mesh_address}",
        f"Authorization: Bearer {ticket}",
        "Connection: Upgrade",
        "Upgrade: console",
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        writer.close()
        raise ValueError(head.split(b"\r\n")[0].decode(errors="replace"))
    return reader, writer


async def _relay(
    browser: ServerConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ticket: ConsoleTicket
) -> None:
    """Carry both ways until one side ends or its right does, then end the other."""
    carried = (_from_guest(browser, reader), _to_guest(browser, writer), _until_revoked(ticket))
    ways = [asyncio.create_task(way) for way in carried]
    _, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in left:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    if ways[2] not in left:
        await browser.close(REFUSED, "the key that opened this console has ended")
    await browser.close()


async def _from_guest(browser: ServerConnection, reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionClosed, OSError):
        while chunk := await reader.read(CHUNK):
            await browser.send(chunk)


async def _to_guest(browser: ServerConnection, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionClosed, OSError):
        async for message in browser:
            writer.write(message.encode() if isinstance(message, str) else message)
            await writer.drain()


async def main() -> None:
    parts = urlsplit(f"//{settings.CONSOLE_BIND}")
    # None stands for clients that are no browsers: they send no Origin, and no page can make them
    origins = [*settings.CONSOLE_ORIGINS, None]
    async with serve(attend, parts.hostname, parts.port, origins=origins, max_size=CHUNK, ping_interval=20) as server:
        await server.serve_forever()


if __name__ == "__main__":
    require_current_schema()
    with suppress(KeyboardInterrupt):
        asyncio.run(main())

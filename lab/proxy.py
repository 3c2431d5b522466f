"""The nodes' way to images on the internet: an HTTP proxy that listens on the underlay and connects from the machine.

`python -m lab.proxy NAMESPACE ADDRESS:PORT`. It lets nobody reach what only the machine can reach: every address that a
name resolves to is checked as a node without a proxy checks it, and the connection goes to a checked one (SE-8).
"""

import asyncio
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from lab.forward import connected, join, listener, place
from lab.layout import OUTSIDE, UNDERLAY
from nodeagent.drivers.fetch import Policy
from nodeagent.host import Refused

HEAD_SECONDS = 15.0
MAX_HEAD = 1 << 16


@dataclass(frozen=True)
class Asked:
    """Where a request wants to go, and what is to be said there first; nothing for a tunnel."""

    host: str
    port: int
    opening: bytes


def parse(head: bytes) -> Asked:
    """Raises ValueError for what is no request to a proxy."""
    first, *headers = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, version = first.split(" ")
    if method == "CONNECT":
        host, port = place(target)
        return Asked(host.strip("[]"), port, b"")
    parts = urlsplit(target)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("only http, and tunnels")
    path = parts._replace(scheme="", netloc="").geturl() or "/"
    kept = [line for line in headers if not line.lower().startswith(("proxy-", "connection:"))]
    lines = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
    return Asked(parts.hostname, parts.port or 80, "\r\n".join(lines).encode("latin-1"))


async def checked_address(host: str, port: int, policy: Policy) -> str:
    """One address of the host, after all of them passed. Raises Refused or OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=socket.AF_INET)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        policy.require(ipaddress.ip_address(address))
    return addresses[0]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, policy: Policy) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
        asked = parse(head)
        address = await checked_address(asked.host, asked.port, policy)
        far = await connected("", (address, asked.port))
    except Refused as error:
        await _refuse(writer, "403 Forbidden", str(error))
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await _refuse(writer, "400 Bad Request", "not a request to a proxy")
    except OSError as error:
        await _refuse(writer, "502 Bad Gateway", str(error))
    else:
        if asked.opening:
            far[1].write(asked.opening)
        else:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await join((reader, writer), far)


async def _refuse(writer: asyncio.StreamWriter, status: str, reason: str) -> None:
    body = f"{reason}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def serve(namespace: str, address: str, policy: Policy) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(reader, writer, policy)

    server = await asyncio.start_server(accept, sock=listener(namespace, address), limit=MAX_HEAD)
    await server.serve_forever()


def policy() -> Policy:
    allowed = [block for block in os.environ.get("FETCH_ALLOW", "").split(",") if block]
    own = (UNDERLAY, OUTSIDE)
    return Policy(allow=[*map(ipaddress.ip_network, allowed)], deny=[*map(ipaddress.ip_network, own)])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], policy()))

"""The third door to a node: bytes, over HTTP, from and to its byte server. The control plane stores none.

Each call carries a ticket, signed with the serving node's key, for one verb on one object for a few minutes (SE-5). A
node that cannot be reached raises NodeUnreachable, which is an Unavailable: never to be read as "not there" (HC-22).

    read_blob      GET    /blobs/UUID?offset=N&limit=N
    write_upload   POST   /uploads/UUID?offset=N            409 when that leaves a gap
                   POST   /uploads/UUID/truncate?offset=N
                   DELETE /uploads/UUID
    read_console   GET    /console/UUID[?length=N]          the last N bytes, without it all that is kept
    clear_console  DELETE /console/UUID
    open_graphics  POST   /graphics/UUID                    where a viewer connects, and with which password
    take_picture   POST   /screens/UUID                     the screen becomes a blob of the node
    stream_console GET    /console/UUID/stream              the serial line itself, for the console process
"""

import http.client
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from nodeagent.wire import ticket
from sfweb.errors import Conflict, NoCapacity, NotFound, Unavailable
from sfweb.models import Node

CHUNK = 256 * 1024


@dataclass(frozen=True)
class Call:
    """One request to a byte server; `kind` and `subject` are the first parts of its address, `verb` is the ticket's."""

    method: str
    kind: str
    subject: uuid.UUID
    verb: str
    query: Mapping[str, int] = field(default_factory=dict)
    body: bytes | None = None
    part: str = ""
    claims: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"/{self.kind}/{self.subject}{self.part}?{urlencode(self.query)}"


class NodeUnreachable(Unavailable):
    """The node's byte server did not answer, or not as it should."""

    code = "node_unreachable"


def make_ticket(node: Node, verb: str, subject: uuid.UUID, **more: int | str | None) -> str:
    claims = {"object": str(subject), "verb": verb, "reader": "api", "exp": time.time() + settings.BYTES_TICKET_SECONDS}
    claims |= more
    return ticket(node.credential.signing_key, claims)


def open_blob(node: Node, blob: uuid.UUID, offset: int, length: int) -> Iterator[bytes]:
    """The bytes of a blob, whose first ones are there when this returns. A body that ends early raises while it is read."""
    call = Call("GET", "blobs", blob, "read_blob", {"offset": offset, "limit": length})
    connection, response = _ask(node, call)
    try:
        first = response.read1(min(CHUNK, length))
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise NodeUnreachable(f"node {node.name} broke off: {error}") from error
    if not first:
        connection.close()
        raise NodeUnreachable(f"node {node.name} sent nothing")
    return _rest(connection, response, first, length)


def _rest(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse, first: bytes, length: int
) -> Iterator[bytes]:
    with closing(connection):
        left = length - len(first)
        yield first
        while left > 0:
            chunk = response.read1(min(CHUNK, left))
            if not chunk:
                raise ConnectionError("the node's answer ended early")  # breaks the client's connection as well
            left -= len(chunk)
            yield chunk


def append_upload(node: Node, upload: uuid.UUID, offset: int, chunk: bytes) -> None:
    """Raises Conflict when the file ends before `offset`."""
    _whole(node, Call("POST", "uploads", upload, "write_upload", {"offset": offset}, chunk))


def truncate_upload(node: Node, upload: uuid.UUID, offset: int) -> None:
    _whole(node, Call("POST", "uploads", upload, "write_upload", {"offset": offset}, part="/truncate"))


def remove_upload(node: Node, upload: uuid.UUID) -> None:
    _whole(node, Call("DELETE", "uploads", upload, "write_upload"))


def read_console(node: Node, instance: uuid.UUID, length: int) -> bytes:
    """The last `length` bytes; all that is kept when it is negative."""
    return _whole(node, Call("GET", "console", instance, "read_console", {"length": length} if length >= 0 else {}))


def clear_console(node: Node, instance: uuid.UUID) -> None:
    _whole(node, Call("DELETE", "console", instance, "clear_console"))


def open_graphics(node: Node, instance: uuid.UUID, seconds: int) -> dict[str, Any]:
    """{protocol, address, port, password, seconds}. Raises Conflict for a guest that is off."""
    return _document(node, Call("POST", "graphics", instance, "open_graphics", claims={"seconds": seconds}))


def take_picture(node: Node, instance: uuid.UUID, blob: uuid.UUID) -> dict[str, Any]:
    """Make what the guest's screen shows the blob; {size, sha512, format, virtual_size}. Raises Conflict where none is."""
    return _document(node, Call("POST", "screens", instance, "take_picture", claims={"blob": str(blob)}))


def _document(node: Node, call: Call) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(_whole(node, call))
    except ValueError as error:
        raise NodeUnreachable(f"node {node.name} answers nonsense") from error
    return answer


def _whole(node: Node, call: Call) -> bytes:
    connection, response = _ask(node, call)
    with closing(connection):
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NodeUnreachable(f"node {node.name} broke off: {error}") from error


def _ask(node: Node, call: Call) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """An answer with status 200, whose body is still to be read. The caller closes the connection."""
    if node.mesh_address is None:
        raise NodeUnreachable(f"node {node.name} has never reported an address")
    connection = http.client.HTTPConnection(node.mesh_address, node.byte_port, timeout=settings.BYTES_CONNECT_SECONDS)
    headers = {"Authorization": f"Bearer {make_ticket(node, call.verb, call.subject, **call.claims)}"}
    try:
        connection.connect()
        connection.sock.settimeout(settings.BYTES_READ_SECONDS)
        connection.request(call.method, call.address, call.body, headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise NodeUnreachable(f"node {node.name} does not answer: {error}") from error
    if response.status == 200:
        return connection, response
    connection.close()
    if response.status in _REFUSALS:
        raise _REFUSALS[response.status](f"node {node.name} refuses: {response.reason}")
    raise NodeUnreachable(f"node {node.name} answers {response.status}")


_REFUSALS = {404: NotFound, 409: Conflict, 507: NoCapacity}

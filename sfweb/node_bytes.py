"""The third door to a node: bytes, over HTTP, from and to its byte server. The control plane stores none.

Each call carries a ticket, signed with the serving node's key, for one verb on one object for a few minutes (SE-5). A
node that cannot be reached raises NodeUnreachable, which is an Unavailable: never to be read as "not there" (HC-22).

    GET    /blobs/UUID?offset=N&limit=N          read_blob
    POST   /uploads/UUID?offset=N                write_upload    the body goes to N, which must not lie past the file's end
    POST   /uploads/UUID/truncate?offset=N       write_upload
    GET    /console/UUID?length=N                read_console    the last N bytes; -1: all that is kept
    DELETE /console/UUID                         clear_console
"""

import http.client
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.conf import settings

from nodeagent.wire import ticket
from sfweb.errors import Conflict, NotFound, Unavailable
from sfweb.models import Node

CHUNK = 256 * 1024


@dataclass(frozen=True)
class Call:
    """One request to a byte server; `subject` is the object that its ticket is for."""

    method: str
    path: str
    verb: str
    subject: uuid.UUID
    query: Mapping[str, int] = field(default_factory=dict)
    body: bytes | None = None


class NodeUnreachable(Unavailable):
    """The node's byte server did not answer, or not as it should."""

    code = "node_unreachable"


def make_ticket(node: Node, verb: str, subject: uuid.UUID) -> str:
    claims = {
        "verb": verb,
        "object": str(subject),
        "exp": int(time.time()) + settings.BYTES_TICKET_SECONDS,
    }
    return ticket(node.credential.signing_key, claims)


def open_blob(node: Node, blob: uuid.UUID, offset: int, length: int) -> Iterator[bytes]:
    """The bytes of a blob, whose first ones are there when this returns. A body that ends early raises while it is read."""
    call = Call("GET", f"/blobs/{blob}", "read_blob", blob, {"offset": offset, "limit": length})
    connection, response = _ask(node, call)
    try:
        first = response.read(min(CHUNK, length))
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
            chunk = response.read(min(CHUNK, left))
            if not chunk:
                raise ConnectionError("the node's answer ended early")  # breaks the client's connection as well
            left -= len(chunk)
            yield chunk


def append_upload(node: Node, upload: uuid.UUID, offset: int, chunk: bytes) -> None:
    """Raises Conflict when the file does not end at `offset`."""
    _whole(node, Call("POST", f"/uploads/{upload}", "write_upload", upload, {"offset": offset}, chunk))


def truncate_upload(node: Node, upload: uuid.UUID, offset: int) -> None:
    _whole(node, Call("POST", f"/uploads/{upload}/truncate", "write_upload", upload, {"offset": offset}))


def read_console(node: Node, instance: uuid.UUID, length: int) -> bytes:
    return _whole(node, Call("GET", f"/console/{instance}", "read_console", instance, {"length": length}))


def clear_console(node: Node, instance: uuid.UUID) -> None:
    _whole(node, Call("DELETE", f"/console/{instance}", "clear_console", instance))


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
    headers = {"Authorization": f"Bearer {make_ticket(node, call.verb, call.subject)}"}
    try:
        connection.connect()
        connection.sock.settimeout(settings.BYTES_READ_SECONDS)
        connection.request(call.method, f"{call.path}?{urlencode(call.query)}", call.body, headers)
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


_REFUSALS = {404: NotFound, 409: Conflict}

"""Bytes in and out of this node over HTTP, on the mesh address: blobs, uploads, console logs. Each call needs a ticket.

A ticket (`wire.ticket`, signed with this node's key, sent as a bearer token) has the claims `object` (a UUID), `verb` and
`exp` (Unix time). It opens that verb on that object and nothing else (SE-5):

    read_blob      GET    /blobs/<uuid>?offset=&limit=       the bytes; X-Total-Size says how many the blob has
    read_instance  GET    /instances/<uuid>?name=            one of its files; without a name {"files": {name: size}}
    write_upload   PUT    /uploads/<uuid>?offset=            {"size": …}; 409 with the size when the chunk leaves a gap
                   POST   /uploads/<uuid>/truncate?offset=   {"size": …}
                   DELETE /uploads/<uuid>
    read_console   GET    /console/<instance>?length=        the newest bytes
    clear_console  DELETE /console/<instance>
    open_graphics  POST   /graphics/<instance>               where a viewer connects, its password; claim `seconds`
    take_picture   POST   /screens/<instance>                the facts of claim `blob`, which is then on this node

An error is {"error": …} with its status. POST does as PUT does.
"""

import errno
import json
import re
import select
import socket
import socketserver
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nodeagent import wire
from nodeagent.config import Config, Identity
from nodeagent.drivers import console_log
from nodeagent.drivers.graphics import Graphics
from nodeagent.drivers.layout import Layout
from nodeagent.drivers.uploads import Gap, Readable, Uploads
from nodeagent.host import Refused, Retry
from nodeagent.specs import UUID

IDLE_SECONDS = 60.0
CONSOLE_CONNECT_SECONDS = 3.0
STREAM_CHUNK = 65536
# How far the clocks of a node and the control plane may be apart before tickets fail.
SKEW_SECONDS = 30.0
UUID_PART = r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"


class HttpError(Exception):
    """Answered as it is: an HTTP status and a JSON document."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": message, **more}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request that its ticket allows, with the ticket's claims. `length` is that of the body, in bytes."""

    uuid: str
    claims: Mapping[str, Any]
    query: Mapping[str, str]
    body: Readable
    length: int | None

    def number(self, name: str, default: int | None = None) -> int:
        text = self.query.get(name, "" if default is None else str(default))
        if not text.isdigit() or len(text) > 18:
            raise HttpError(400, f"{name}: a number of bytes is needed")
        return int(text)


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a file that is to be sent without passing through Python."""

    path: Path
    offset: int
    length: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A connection of this node that is to be joined with the asking one; it is closed with it."""

    connection: socket.socket


class Service:
    """What the routes do: each takes what was asked and answers bytes, a JSON document, a region of a file, a stream."""

    def __init__(self, config: Config, identity: Identity) -> None:
        self.key = identity.signing_key
        self._layout = Layout(config.state)
        self._layout.prepare()
        self._uploads = Uploads(self._layout)
        self._graphics = Graphics(config, self._layout)

    def read_blob(self, asked: Asked) -> Region:
        path = self._layout.blob(asked.uuid)
        if not path.exists() or not self._layout.blob_facts(asked.uuid).exists():
            raise HttpError(404, "no such blob on this node")
        total = path.stat().st_size
        offset = asked.number("offset", 0)
        if offset > total:
            raise HttpError(416, "the blob ends before that offset", size=total)
        length = min(asked.number("limit", total), total - offset)
        return Region(path=path, offset=offset, length=length, total=total)

    def read_instance(self, asked: Asked) -> Region | dict[str, Any]:
        files = self._layout.instance_files(asked.uuid)
        name = asked.query.get("name")
        if name is None:
            return {"files": {each: path.stat().st_size for each, path in files.items()}}
        if name not in files:
            raise HttpError(404, "no such file of that instance on this node")
        size = files[name].stat().st_size
        return Region(path=files[name], offset=0, length=size, total=size)

    def write_upload(self, asked: Asked) -> dict[str, Any]:
        if asked.length is None:
            raise HttpError(411, "Content-Length is needed")
        try:
            return {"size": self._uploads.write(asked.uuid, asked.number("offset"), asked.body, asked.length)}
        except Gap as gap:
            raise HttpError(409, str(gap), size=gap.size) from gap
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise HttpError(507, "this node's disk is full") from error
            raise

    def truncate_upload(self, asked: Asked) -> dict[str, Any]:
        return {"size": self._uploads.truncate(asked.uuid, asked.number("offset"))}

    def remove_upload(self, asked: Asked) -> dict[str, Any]:
        return {"removed": self._uploads.remove(asked.uuid)}

    def read_console(self, asked: Asked) -> bytes:
        return console_log.read(self._console_log(asked), asked.number("length", console_log.KEPT))

    def clear_console(self, asked: Asked) -> dict[str, Any]:
        console_log.clear(self._console_log(asked))
        return {}

    def stream_console(self, asked: Asked) -> Stream:
        """The guest's serial line. Its port is the ticket's claim: the control plane chose it, and this node started it."""
        port = asked.claims.get("port")
        if not isinstance(port, int) or not self._layout.instance(asked.uuid).exists():
            raise HttpError(404, "no such console on this node")
        try:
            return Stream(connection=socket.create_connection(("127.0.0.1", port), timeout=CONSOLE_CONNECT_SECONDS))
        except OSError as error:
            raise HttpError(409, f"the console does not answer: {error}") from error

    def open_graphics(self, asked: Asked) -> dict[str, Any]:
        seconds = asked.claims.get("seconds")
        if not isinstance(seconds, int):
            raise HttpError(400, "the ticket says no seconds")
        return self._seen(lambda: self._graphics.open(asked.uuid, seconds))

    def take_picture(self, asked: Asked) -> dict[str, Any]:
        blob = str(asked.claims.get("blob"))
        if not UUID.match(blob):
            raise HttpError(400, "the ticket names no blob")
        return self._seen(lambda: self._graphics.keep_picture(asked.uuid, blob))

    def _seen(self, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return look()
        except Refused as error:
            raise HttpError(507 if error.code == "disk.full" else 409, str(error), code=error.code) from error
        except Retry as error:
            raise HttpError(409 if error.code == "domain.missing" else 503, str(error), code=error.code) from error

    def _console_log(self, asked: Asked) -> Path:
        if not self._layout.instance(asked.uuid).exists():
            raise HttpError(404, "no such instance on this node")
        return self._layout.console_log(asked.uuid)


Answer = Region | Stream | bytes | dict[str, Any]
# Methods, path, the ticket's verb, and what does it.
ROUTES: tuple[tuple[frozenset[str], re.Pattern[str], str, Callable[[Service, Asked], Answer]], ...] = tuple(
    (frozenset(methods.split()), re.compile(f"/{path.format(UUID_PART)}\\Z"), verb, act)
    for methods, path, verb, act in (
        ("GET", "blobs/{}", "read_blob", Service.read_blob),
        ("GET", "instances/{}", "read_instance", Service.read_instance),
        ("PUT POST", "uploads/{}", "write_upload", Service.write_upload),
        ("POST", "uploads/{}/truncate", "write_upload", Service.truncate_upload),
        ("DELETE", "uploads/{}", "write_upload", Service.remove_upload),
        ("GET", "console/{}", "read_console", Service.read_console),
        ("DELETE", "console/{}", "clear_console", Service.clear_console),
        ("POST", "graphics/{}", "open_graphics", Service.open_graphics),
        ("POST", "screens/{}", "take_picture", Service.take_picture),
        ("GET", "console/{}/stream", "stream_console", Service.stream_console),
    )
)


class ByteServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, config: Config, identity: Identity) -> None:
        self.service = Service(config, identity)
        super().__init__((config.mesh_address, config.byte_port), Exchange)

    def server_bind(self) -> None:
        # Without HTTPServer's own step, which asks the name service who this address is.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class Exchange(BaseHTTPRequestHandler):
    """One connection. After an error it is closed, for the rest of a body may still be on its way."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: ByteServer

    def answer(self) -> None:
        try:
            self._send(self._act())
        except HttpError as error:
            self._send_document(error.status, error.document)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            self.log_error("%s %s: %r", self.command, self.path.partition("?")[0], error)
            self._send_document(500, {"error": "this node failed to do it"})

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Only errors are logged; a busy node serves thousands of chunks."""

    def log_error(self, format: str, *args: Any) -> None:
        super().log_message(format, *args)

    def _act(self) -> Answer:
        parts = urlsplit(self.path)
        found = [(route, match) for route in ROUTES if (match := route[1].match(parts.path))]
        if not found:
            raise HttpError(404, "no such path")
        for (methods, _, verb, act), match in found:
            if self.command in methods:
                claims = self._require_ticket(match["uuid"], verb)
                return act(self.server.service, self._asked(match["uuid"], parts.query, claims))
        raise HttpError(405, f"not with {self.command}")

    def _asked(self, uuid: str, query: str, claims: Mapping[str, Any]) -> Asked:
        length = self.headers.get("Content-Length", "")
        return Asked(
            uuid=uuid,
            claims=claims,
            query=dict(parse_qsl(query)),
            body=self.rfile,
            length=int(length) if length.isdigit() else None,
        )

    def _require_ticket(self, uuid: str, verb: str) -> Mapping[str, Any]:
        kind, _, text = self.headers.get("Authorization", "").partition(" ")
        try:
            claims = wire.read_ticket(self.server.service.key, text)
        except (ValueError, TypeError):
            claims = {}
        if kind != "Bearer" or not claims:
            raise HttpError(401, "a ticket of this node is needed")
        if float(claims.get("exp", 0)) + SKEW_SECONDS < time.time():
            raise HttpError(401, "the ticket has expired")
        if (claims.get("object"), claims.get("verb")) != (uuid, verb):
            raise HttpError(403, "the ticket is for something else")
        return claims

    def _send(self, answer: Answer) -> None:
        if isinstance(answer, Region):
            self._send_region(answer)
        elif isinstance(answer, Stream):
            self._join(answer.connection)
        elif isinstance(answer, bytes):
            self._send_head(200, "application/octet-stream", len(answer))
            self.wfile.write(answer)
        else:
            self._send_document(200, answer)

    def _send_region(self, region: Region) -> None:
        with region.path.open("rb") as file:
            self._send_head(200, "application/octet-stream", region.length, {"X-Total-Size": str(region.total)})
            if region.length:
                self.connection.sendfile(file, region.offset, region.length)

    def _join(self, far: socket.socket) -> None:
        """Switch protocols and carry bytes both ways until either side ends."""
        self.close_connection = True
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "console")
        self.end_headers()
        self.wfile.flush()
        near = self.connection
        near.settimeout(None)
        with far:
            far.settimeout(None)
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    chunk = ready.recv(STREAM_CHUNK)
                    if not chunk:
                        return
                    (far if ready is near else near).sendall(chunk)

    def _send_document(self, status: int, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.close_connection = self.close_connection or status >= 400
        self._send_head(status, "application/json", len(body))
        self.wfile.write(body)

    def _send_head(self, status: int, kind: str, length: int, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def run(config: Config, identity: Identity) -> None:
    """Serve until the process is told to end."""
    with ByteServer(config, identity) as server:
        server.serve_forever()

"""A node's byte server for tests: keeps blobs, uploads and consoles in memory and checks every ticket."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from nodeagent.wire import Malformed, read_ticket

KEY = "the signing key of node n1"
PICTURE = b"\x89PNG"
GRAPHICS: dict[str, object] = {
    "protocol": "spice",
    "address": "198.18.0.11",
    "port": 30002,
    "password": "pass-wrd",
    "seconds": 300,
}


class FakeBytes:
    """`break_off_after`: a blob's body ends after so many bytes although more were promised."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.consoles: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.claims: list[dict[str, object]] = []
        self.break_off_after: int | None = None
        self.refuse: int | None = None
        self.slow = threading.Event()
        self.slow.set()
        self.port = 0


class _Door(BaseHTTPRequestHandler):
    store: FakeBytes

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        subject, query = self._open("read_blob" if self.path.startswith("/blobs") else "read_console")
        if subject is None:
            return
        if self.path.startswith("/console"):
            text = self.store.consoles.get(subject)
            length = int(query.get("length", ["-1"])[0])
            self._answer(404, b"") if text is None else self._answer(200, text if length < 0 else text[-length:])
            return
        offset, length = int(query["offset"][0]), int(query["limit"][0])
        body = self.store.blobs[subject][offset : offset + length]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = len(body) if self.store.break_off_after is None else self.store.break_off_after
        self.wfile.write(body[: min(cut, 1000)])
        self.wfile.flush()
        self.store.slow.wait(10)
        self.wfile.write(body[1000:cut])
        self.close_connection = True

    def do_POST(self) -> None:
        chunk = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/graphics"):
            self._tell("open_graphics", GRAPHICS)
            return
        if self.path.startswith("/screens"):
            self._tell("take_picture", {"size": 4, "sha512": "cd" * 64, "format": "other", "virtual_size": 0})
            self.store.blobs[str(self.store.claims[-1].get("blob"))] = PICTURE
            return
        subject, query = self._open("write_upload")
        if subject is None:
            return
        so_far, offset = self.store.uploads.get(subject, b""), int(query["offset"][0])
        if "/truncate" in self.path:
            self.store.uploads[subject] = so_far[:offset]
        elif offset > len(so_far):
            self._answer(409, b"")
            return
        else:
            self.store.uploads[subject] = so_far[:offset] + chunk
        self._answer(200, b"{}")

    def _tell(self, verb: str, document: dict[str, object]) -> None:
        subject, _ = self._open(verb)
        if subject is not None:
            self._answer(200, json.dumps(document).encode())

    def do_DELETE(self) -> None:
        subject, _ = self._open("clear_console")
        if subject is not None:
            self.store.consoles[subject] = b""
            self._answer(200, b"{}")

    def _open(self, verb: str) -> tuple[str | None, dict[str, list[str]]]:
        self.store.asked.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        subject = parts.path.split("/")[2]
        try:
            claims = read_ticket(KEY, self.headers["Authorization"].removeprefix("Bearer "))
        except Malformed:
            claims = {}
        self.store.claims.append(dict(claims))
        fits = claims.get("verb") == verb and claims.get("object") == subject and claims["exp"] > time.time()
        if self.store.refuse or not fits:
            self._answer(self.store.refuse or 403, b"")
            return None, {}
        return subject, parse_qs(parts.query)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[FakeBytes]:
    store = FakeBytes()
    door = type("Door", (_Door,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), door)
    server.daemon_threads = False
    store.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.slow.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""Small disk images and a small web server, for tests of drivers."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def qcow2(
    version: int = 3,
    size: int = 2**20,
    backing: bytes = b"",
    encryption: int = 0,
    features: int = 0,
    backing_at: int = 0,
) -> bytes:
    """A qcow2 header that says so, with nothing behind it: enough to be judged, not enough to be opened."""
    at = backing_at or (512 if backing else 0)
    start = b"QFI\xfb" + struct.pack(">IQIIQI", version, at, len(backing), 16, size, encryption)
    start = start.ljust(72, b"\0") + struct.pack(">QQQII", features, 0, 0, 4, 104)
    return start.ljust(512, b"\0") + backing.ljust(4096, b"\0")


VMDK_OF_FILES = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n'


def vmdk(descriptor: bytes = b"", capacity: int = 2048) -> bytes:
    """The header of a sparse VMDK and the descriptor in it."""
    start = b"KDMV" + struct.pack("<II", 1, 3) + struct.pack("<QQQQ", capacity, 128, 1, 20)
    return start.ljust(512, b"\0") + descriptor.ljust(20 * 512, b"\0")


def vhd(kind: int = 2) -> bytes:
    """The footer of a VHD: 2 is fixed, 3 dynamic, 4 differencing."""
    return b"conectix".ljust(60, b"\0") + struct.pack(">I", kind).ljust(452, b"\0")


class Served:
    """{path: (status, headers, body)}; `asked` are the requests that came, `sent` their headers."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.sent: list[dict[str, str]] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def web_server() -> Iterator[Served]:
    served = Served()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            served.sent.append(dict(self.headers))
            status, headers, body = served.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            # A client that has read enough hangs up.
            with suppress(BrokenPipeError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

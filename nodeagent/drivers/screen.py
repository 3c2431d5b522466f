"""What a guest's screen shows, as a PNG. QEMU gives it as a PPM of 24 bits."""

import re
import struct
import zlib

_HEAD = re.compile(rb"P6\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+255\s", re.ASCII)
MOST_PIXELS = 8192 * 8192


def as_png(picture: bytes) -> bytes:
    """Raises ValueError for anything but a whole PPM; a PNG stays as it is."""
    if picture.startswith(b"\x89PNG"):
        return picture
    head = _HEAD.match(picture)
    if head is None:
        raise ValueError("the screen is not given as a PPM")
    width, height = int(head[1]), int(head[2])
    pixels = memoryview(picture)[head.end() :]
    if not 0 < width * height <= MOST_PIXELS or len(pixels) < 3 * width * height:
        raise ValueError(f"a picture of {width} by {height} has {len(pixels)} bytes")
    lines = b"".join(b"\0" + pixels[3 * width * line : 3 * width * (line + 1)] for line in range(height))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(lines)),
            (b"IEND", b""),
        )
    )

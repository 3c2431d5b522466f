"""Pictures of screens: from what QEMU gives to a PNG."""

import struct
import zlib

import pytest

from nodeagent.drivers.screen import as_png

PIXELS = bytes(range(18))


@pytest.mark.parametrize("head", [b"P6\n3 2\n255\n", b"P6\n# made by QEMU\n3 2\n255\n"])
def test_every_pixel_is_kept(head: bytes) -> None:
    png = as_png(head + PIXELS)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (3, 2)
    start = png.index(b"IDAT")
    length = struct.unpack(">I", png[start - 4 : start])[0]
    body = png[start + 4 : start + 4 + length]
    assert zlib.decompress(body) == b"\0" + PIXELS[:9] + b"\0" + PIXELS[9:]
    assert struct.unpack(">I", png[start + 4 + length : start + 8 + length])[0] == zlib.crc32(b"IDAT" + body)
    assert as_png(png) == png


@pytest.mark.parametrize(
    "picture",
    [b"", b"GIF89a", b"P6\n3 2\n255\n" + PIXELS[:-1], b"P6\n0 2\n255\n", b"P6\n99999 99999\n255\n", b"P5\n3 2\n255\n"],
)
def test_anything_else_is_refused(picture: bytes) -> None:
    with pytest.raises(ValueError, match=r"picture|screen"):
        as_png(picture)

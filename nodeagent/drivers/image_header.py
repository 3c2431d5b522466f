"""What a disk image's first bytes say, read here so that no program opens a hostile image before it is judged (SE-9).

A qcow2 header may name other files: a backing file, a data file. Programs that merely describe an image may open those.
So the header is parsed first, and an image that names another file, or is encrypted, goes no further.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

QCOW2_MAGIC = b"QFI\xfb"
LUKS_MAGIC = b"LUKS\xba\xbe"
EXTERNAL_DATA = 1 << 2
CORRUPT = 1 << 1
FOREIGN = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"KDMV": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"conectix": "vpc",
    b"vhdxfile": "vhdx",
    b"<<< ": "vdi",
    b"QED\x00": "qed",
    b"<!DOCTYPE": "html",
    b"<!doctype": "html",
    b"<html": "html",
    b"<HTML": "html",
    b"<?xml": "xml",
}


class UnsafeImage(Exception):
    """The image would make whoever opens it open something else, or cannot be read at all."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """`format` is qcow2, raw, or other: bytes that are no disk that this cloud boots (`kind` names them where known).

    virtual_size  bytes that a guest sees
    backing       name of the backing file inside a qcow2 header, or empty
    """

    format: str
    virtual_size: int
    backing: str = ""
    kind: str = ""


def read_header(path: Path) -> Header:
    """Judge by content alone. Raises UnsafeImage for encryption and external data files; a backing file is the caller's."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4096)
        if start.startswith(QCOW2_MAGIC):
            return _qcow2(start, file.read(1 << 20))
    if start.startswith(LUKS_MAGIC):
        raise UnsafeImage("the image is encrypted")
    kind = next((name for magic, name in FOREIGN.items() if start.lstrip().startswith(magic)), "")
    if kind or not size:
        return Header(format="other", virtual_size=size, kind=kind or "empty")
    return Header(format="raw", virtual_size=-(-size // 512) * 512)


def _qcow2(start: bytes, rest: bytes) -> Header:
    if len(start) < 104:
        raise UnsafeImage("the qcow2 header is cut short")
    version, backing_at, backing_length, _, size, encryption = struct.unpack_from(">IQIIQI", start, 4)
    features = struct.unpack_from(">Q", start, 72)[0] if version >= 3 else 0
    if version not in (2, 3):
        raise UnsafeImage(f"qcow2 version {version} is not known")
    if encryption:
        raise UnsafeImage("the image is encrypted")
    if features & EXTERNAL_DATA:
        raise UnsafeImage("the image keeps its data in another file")
    if features & CORRUPT:
        raise UnsafeImage("the image is marked corrupt")
    whole = start + rest
    if backing_at and (backing_length > 1023 or backing_at + backing_length > len(whole)):
        raise UnsafeImage("the name of the backing file lies outside the header")
    backing = whole[backing_at : backing_at + backing_length].decode(errors="replace") if backing_at else ""
    return Header(format="qcow2", virtual_size=size, backing=backing)

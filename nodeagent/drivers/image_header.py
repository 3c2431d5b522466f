"""What a disk image's own bytes say, read here so that no program opens a hostile image before it is judged (SE-9).

A qcow2 header may name other files: a backing file, a data file. A VMDK may be nothing but a list of other files. Programs
that merely describe an image open those. So the header is parsed first, and an image that names another file, or is
encrypted, goes no further.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

QCOW2_MAGIC = b"QFI\xfb"
LUKS_MAGIC = b"LUKS\xba\xbe"
EXTERNAL_DATA = 1 << 2
CORRUPT = 1 << 1
SECTOR = 512
VMDK_DESCRIPTOR_BYTES = 20 * SECTOR
"""As much as QEMU looks through for the name of a parent, whatever the header says."""
VHD_DIFFERENCING = 4
CONVERTIBLE = frozenset({"vmdk", "vpc", "vhdx", "ova"})
FOREIGN = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
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
    """The image would make whoever opens it open something else, or cannot be read at all; `code` says which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Header:
    """`format` is qcow2, raw, one of CONVERTIBLE, or other: bytes that are no disk (`kind` names them where known).

    virtual_size  bytes that a guest sees; of what is to be converted its size on disk
    backing       name of the backing file inside a qcow2 header, or empty
    """

    format: str
    virtual_size: int
    backing: str = ""
    kind: str = ""


def read_header(path: Path) -> Header:
    """Judge by content alone. Raises UnsafeImage for whatever reaches out of the file; a backing file is the caller's."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4096)
        if start.startswith(QCOW2_MAGIC):
            return _qcow2(start, file.read(1 << 20))
        if start.startswith(b"KDMV"):
            _require_whole_vmdk(start, file, size)
            return Header(format="vmdk", virtual_size=size)
        file.seek(max(0, size - SECTOR))
        end = file.read(SECTOR)
    if start.startswith(LUKS_MAGIC):
        raise UnsafeImage("image.encrypted", "the image is encrypted")
    if start.lstrip().startswith(b"# Disk DescriptorFile"):
        raise UnsafeImage("image.external", "the image is a list of other files")
    for footer in (start, end):
        if footer.startswith(b"conectix"):
            _require_whole_vhd(footer)
            return Header(format="vpc", virtual_size=size)
    return _by_magic(start, size)


def _by_magic(start: bytes, size: int) -> Header:
    if start[257:262] == b"ustar":
        return Header(format="ova", virtual_size=size, kind="tar")
    kind = next((name for magic, name in FOREIGN.items() if start.lstrip().startswith(magic)), "")
    if kind in CONVERTIBLE:
        return Header(format=kind, virtual_size=size)
    if kind or not size:
        return Header(format="other", virtual_size=size, kind=kind or "empty")
    return Header(format="raw", virtual_size=-(-size // SECTOR) * SECTOR)


def _qcow2(start: bytes, rest: bytes) -> Header:
    if len(start) < 104:
        raise UnsafeImage("image.corrupt", "the qcow2 header is cut short")
    version, backing_at, backing_length, _, size, encryption = struct.unpack_from(">IQIIQI", start, 4)
    features = struct.unpack_from(">Q", start, 72)[0] if version >= 3 else 0
    if version not in (2, 3):
        raise UnsafeImage("image.corrupt", f"qcow2 version {version} is not known")
    if encryption:
        raise UnsafeImage("image.encrypted", "the image is encrypted")
    if features & EXTERNAL_DATA:
        raise UnsafeImage("image.data_file", "the image keeps its data in another file")
    if features & CORRUPT:
        raise UnsafeImage("image.corrupt", "the image is marked corrupt")
    whole = start + rest
    if backing_at and (backing_length > 1023 or backing_at + backing_length > len(whole)):
        raise UnsafeImage("image.backing_file", "the name of the backing file lies outside the header")
    backing = whole[backing_at : backing_at + backing_length].decode(errors="replace") if backing_at else ""
    return Header(format="qcow2", virtual_size=size, backing=backing)


def _require_whole_vmdk(start: bytes, file: BinaryIO, size: int) -> None:
    """A sparse VMDK that is all in this file: without capacity its descriptor names other files, with a parent one more."""
    if len(start) < SECTOR:
        raise UnsafeImage("image.corrupt", "the vmdk header is cut short")
    capacity, _, at, sectors = struct.unpack_from("<QQQQ", start, 12)
    if capacity == 0:
        raise UnsafeImage("image.external", "the image is a list of other files")
    file.seek(min(at * SECTOR, size))
    descriptor = file.read(max(VMDK_DESCRIPTOR_BYTES, min(sectors, 2048) * SECTOR)).lower()
    if b"parentfilenamehint" in descriptor:
        raise UnsafeImage("image.backing_file", "the image lies on another file")


def _require_whole_vhd(footer: bytes) -> None:
    if len(footer) >= 64 and struct.unpack_from(">I", footer, 60)[0] == VHD_DIFFERENCING:
        raise UnsafeImage("image.backing_file", "the image lies on another file")

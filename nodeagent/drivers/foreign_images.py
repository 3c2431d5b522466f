"""Images in formats that this cloud does not keep: vmdk, vhd, vhdx, and appliances (OVA) with one such disk in them.

They become qcow2, by `qemu-img` under limits, told the format, with no network (SE-9). Its input has passed
`image_header`, which refuses whatever names another file.
"""

import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nodeagent.drivers import command, disks
from nodeagent.drivers.image_header import CONVERTIBLE, Header, UnsafeImage, read_header
from nodeagent.drivers.layout import remove
from nodeagent.host import Call, Refused

GIB = 2**30
CHUNK = 2**20
CONVERT_SECONDS = 3600.0
MOST_MEMBERS = 1000


def convert(path: Path, header: Header, max_virtual_gb: int, call: Call) -> None:
    """Replace the file by the same disk as qcow2. Raises Refused with the codes `image.*`, and then leaves it as it was."""
    if header.format == "ova":
        with _disk_of(path, max_virtual_gb, call) as disk:
            _to_qcow2(disk, header_of(disk), max_virtual_gb, path, call)
    else:
        _to_qcow2(path, header, max_virtual_gb, path, call)


def header_of(path: Path) -> Header:
    try:
        return read_header(path)
    except UnsafeImage as error:
        raise Refused(error.code, str(error)) from error


def is_appliance(path: Path) -> bool:
    """A tar with a description of a machine in it; any other tar is just a file."""
    try:
        return any(name.lower().endswith(".ovf") for name in _members(path))
    except Refused:
        return False


def _to_qcow2(source: Path, header: Header, max_virtual_gb: int, target: Path, call: Call) -> None:
    if header.format not in CONVERTIBLE - {"ova"}:
        raise Refused("image.not_an_image", f"the appliance's disk is {header.kind or header.format}")
    _require_sandbox()
    size = disks.inspect(str(source), header, alone=True)
    if size > max_virtual_gb * GIB:
        raise Refused("image.too_large", f"a disk of {size} bytes is above {max_virtual_gb} GiB")
    made = target.with_name(f"{target.name}.qcow2")
    words = ["convert", "-q", "-f", header.format, "-O", "qcow2", f"file:{source}", f"file:{made}"]
    try:
        disks.write(words, call, CONVERT_SECONDS, percent=99, alone=True)
        made.replace(target)
    except command.CommandFailed as error:
        _explain(error)
        raise
    finally:
        remove(made)


def _explain(error: command.CommandFailed) -> None:
    """Raises Refused for what is the image's fault. A program that broke down says nothing about the image."""
    if -error.status in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
        limits = f"{disks.LIMITS.cpu_seconds} s of processor time or {disks.LIMITS.file_size // GIB} GiB"
        raise Refused("image.too_large", f"converting it takes more than {limits}") from error
    if error.status > 0:
        complaint = error.complaint.strip()[-200:]
        raise Refused("image.not_an_image", f"qemu-img cannot convert it: {complaint}") from error


@contextmanager
def _disk_of(path: Path, max_virtual_gb: int, call: Call) -> Iterator[Path]:
    """The one disk of an appliance, as a file of its own for as long as it is needed."""
    names = [name for name in _members(path) if name.lower().endswith((".vmdk", ".vhd", ".vhdx"))]
    if len(names) != 1:
        raise Refused("image.not_an_image", f"the appliance has {len(names)} disks, one is needed")
    disk = path.with_name(f"{path.name}.disk")
    try:
        with tarfile.open(path, "r:") as archive, disk.open("xb") as file:
            member = archive.getmember(names[0])
            body = archive.extractfile(member)
            if body is None or member.size > max_virtual_gb * GIB:
                raise Refused("image.too_large", f"the appliance's disk has {member.size} bytes")
            while chunk := body.read(CHUNK):
                file.write(chunk)
                call.progress(99)
        yield disk
    finally:
        remove(disk)


def _members(path: Path) -> list[str]:
    """The plain files in a tar; the others, links first of all, are no part of an appliance."""
    found: list[str] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for number, member in enumerate(archive):
                if number >= MOST_MEMBERS:
                    raise Refused("image.not_an_image", "the tar has too many members")
                if member.isreg() and not member.issparse():
                    found.append(member.name)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise Refused("image.not_an_image", f"the tar cannot be read: {error}") from error
    return found


def _require_sandbox() -> None:
    if not _has_sandbox():
        raise Refused("image.unsupported", "this node cannot shut qemu-img off from the network: no user namespaces")


@cache
def _has_sandbox() -> bool:
    try:
        command.run(["true"], timeout=10, alone=True)
    except command.CommandFailed:
        return False
    return True

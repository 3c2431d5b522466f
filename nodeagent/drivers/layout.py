"""Where everything of an instance, a blob and an upload lies below the state directory, and how a file becomes visible.

All of it is on one file system, so that a finished file gets its name by rename. Temporary names start with a dot and
contain the token of the attempt (EN-15).
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeagent.host import Refused
from nodeagent.specs import DISK_FILE, UUID, require_uuid

DISK_SUFFIX = ".qcow2"
CONFIG_DRIVE_FILE = "config.iso"


class Layout:
    def __init__(self, state: Path) -> None:
        self.blobs = state / "blobs"
        self.uploads = state / "uploads"
        self.instances = state / "instances"
        self.state = state

    def prepare(self) -> None:
        for folder in (self.blobs, self.uploads, self.instances):
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)

    def blob(self, blob: str) -> Path:
        require_uuid(blob, "blob")
        return self.blobs / blob

    def blob_facts(self, blob: str) -> Path:
        return self.blob(blob).with_suffix(".json")

    def upload(self, upload: str) -> Path:
        require_uuid(upload, "upload")
        return self.uploads / upload

    def instance(self, instance: str) -> Path:
        require_uuid(instance, "instance")
        return self.instances / instance

    def disk(self, instance: str, file: str) -> Path:
        """`file` as `specs.disk_file` makes it."""
        if not DISK_FILE.match(file):
            raise ValueError(f"disk file: {file!r} is not valid")
        return self.instance(instance) / f"{file}{DISK_SUFFIX}"

    def config_drive(self, instance: str) -> Path:
        return self.instance(instance) / CONFIG_DRIVE_FILE

    def console_log(self, instance: str) -> Path:
        return self.instance(instance) / "console.log"

    def nvram(self, instance: str) -> Path:
        return self.instance(instance) / "nvram.fd"

    def instance_files(self, instance: str) -> dict[str, Path]:
        """{name: path} of what makes up the instance: disks, config drive, variables of its firmware, console log."""
        others = [self.config_drive(instance), self.console_log(instance), self.nvram(instance)]
        disks = self.instance(instance).glob(f"*{DISK_SUFFIX}")
        found = [path for path in disks if DISK_FILE.match(path.name.removesuffix(DISK_SUFFIX))]
        return {path.name: path for path in [*sorted(found), *others] if path.is_file()}

    def known_instances(self) -> list[str]:
        """Every instance with files. Raises OSError when the folder cannot be read."""
        return sorted(entry.name for entry in os.scandir(self.instances) if UUID.match(entry.name))

    def known_blobs(self) -> dict[str, int]:
        """{blob: bytes on disk} of those that are whole."""
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.blobs)}
        return {name: size for name, size in sizes.items() if UUID.match(name) and f"{name}.json" in sizes}

    def sweep(self, token: str) -> None:
        """Remove every temporary file and folder of one attempt."""
        for pattern in (f"blobs/.*{token}*", f"instances/*/.*{token}*"):
            for path in self.state.glob(pattern):
                remove(path)


@contextmanager
def appearing(target: Path, token: str) -> Iterator[Path]:
    """A temporary path beside `target`; what is written there becomes `target` at the end, or vanishes."""
    temporary = target.with_name(f".{target.name}.{token}")
    remove(temporary)
    try:
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush(target.parent)
    finally:
        remove(temporary)


@contextmanager
def telling_a_full_disk() -> Iterator[None]:
    """Raises Refused("disk.full") for what the file system has no room for."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused("disk.full", os.strerror(error.errno)) from error
        raise


def flush(path: Path) -> None:
    """Make a file's content, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> bool:
    """True when there was something to remove."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return True
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True

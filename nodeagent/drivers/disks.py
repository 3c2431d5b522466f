"""Instance disks: qcow2 overlays on cached blobs, and empty ones. A cached blob is only ever read (mode 0444).

Every use of `qemu-img` is here, with limits and explicit formats (SE-9): it never guesses a format, and it never sees an
image that `image_header` has not passed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodeagent.drivers import command
from nodeagent.drivers.image_header import Header, UnsafeImage, read_header
from nodeagent.drivers.layout import DISK_SUFFIX, Layout, appearing
from nodeagent.host import BlobFacts, Call, Refused, Retry
from nodeagent.specs import DISK_FILE, UUID, DiskSpec

GIB = 2**30
LIMITS = command.Limits(cpu_seconds=60, address_space=GIB, file_size=64 * GIB)
QEMU_IMG_SECONDS = 90.0


def inspect(path: str, header: Header, *, alone: bool = False) -> int:
    """Let `qemu-img` confirm that a file has the format of its header; bytes of virtual size. Refused otherwise."""
    try:
        output = command.run(
            ["qemu-img", "info", "--output=json", "-f", header.format, f"file:{path}"],
            timeout=QEMU_IMG_SECONDS,
            limits=LIMITS,
            alone=alone,
        )
    except command.CommandFailed as error:
        if error.status < 0:
            raise  # it broke down: that says nothing about the image
        raise Refused("image.not_an_image", f"qemu-img refuses it: {error.complaint.strip()[-200:]}") from error
    return int(json.loads(output)["virtual-size"])


def make_empty(path: Path, size: int, call: Call, base: Sequence[str] = ()) -> None:
    """Make a qcow2 file of `size` bytes; `base` are qemu-img's words for what it lies on."""
    write(["create", "-q", "-f", "qcow2", *base, f"file:{path}", str(size)], call)


def write(
    words: Sequence[str],
    call: Call,
    seconds: float = QEMU_IMG_SECONDS,
    limits: command.Limits = LIMITS,
    *,
    percent: int = 0,
    alone: bool = False,
) -> None:
    """Let qemu-img write a file; `percent` is how far the call is meanwhile, `alone` as in `command.run`.

    Raises Refused("disk.full"), and what `call` raises when it is to stop.
    """

    def watch() -> None:
        call.progress(percent)

    try:
        command.run(["qemu-img", *words], timeout=seconds, limits=limits, watch=watch, alone=alone)
    except command.CommandFailed as error:
        if "No space left" in error.complaint:
            raise Refused("disk.full", str(error)) from error
        raise


class Disks:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def present(self, instance: str) -> Mapping[str, str | None]:
        """{file: blob it lies on, or None}. Raises UnsafeImage for a disk file that is none."""
        folder = self._layout.instance(instance)
        found: dict[str, str | None] = {}
        if not folder.exists():
            return found
        for path in sorted(folder.glob(f"*{DISK_SUFFIX}")):
            name = path.name.removesuffix(DISK_SUFFIX)
            if DISK_FILE.match(name):
                found[name] = self._blob_under(read_header(path))
        return found

    def create(self, instance: str, disk: DiskSpec, facts: BlobFacts | None, call: Call) -> None:
        """Make the disk's file; `facts` are those of its blob. Raises Refused or Retry, and then leaves nothing."""
        target = self._layout.disk(instance, disk.file)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        base = self._base(disk, facts)
        with appearing(target, call.token) as temporary:
            make_empty(temporary, _bytes(disk, facts), call, base)

    def size_to_reach(self, instance: str, disk: DiskSpec) -> int:
        """The bytes that an existing disk should have by its spec; 0 when it is large enough."""
        size = disk.size_gb * GIB
        return size if read_header(self._layout.disk(instance, disk.file)).virtual_size < size else 0

    def resize(self, instance: str, file: str, size: int) -> None:
        """Make the disk of a guest that is off `size` bytes large."""
        path = self._layout.disk(instance, file)
        command.run(
            ["qemu-img", "resize", "-q", "-f", "qcow2", f"file:{path}", str(size)],
            timeout=QEMU_IMG_SECONDS,
            limits=LIMITS,
        )

    def verify_chain(self, instance: str, disk: DiskSpec) -> None:
        """Raises unless the disk's file lies directly on the cached blob of its spec, or on nothing."""
        header = read_header(self._layout.disk(instance, disk.file))
        if header.backing and self._blob_under(header) != disk.blob:
            raise Refused("disk.conflict", f"{disk.device} lies on {header.backing}")

    def users_of(self, blob: str) -> list[str]:
        """The instances on this node with a disk on that blob."""
        return [name for name in self._layout.known_instances() if blob in self.present(name).values()]

    def _base(self, disk: DiskSpec, facts: BlobFacts | None) -> list[str]:
        if disk.blob is None:
            return []
        if facts is None:
            raise Retry("blob.missing", f"blob {disk.blob} is not on this node")
        if facts.format not in ("qcow2", "raw"):
            raise Refused("blob.not_an_image", f"blob {disk.blob} is no disk image")
        return ["-b", str(self._layout.blob(disk.blob)), "-F", facts.format]

    def _blob_under(self, header: Header) -> str | None:
        if not header.backing:
            return None
        name = header.backing.removeprefix(f"{self._layout.blobs}/")
        if not UUID.match(name):
            raise UnsafeImage("image.external", f"a disk lies on {header.backing}, which is no cached blob")
        return name


def _bytes(disk: DiskSpec, facts: BlobFacts | None) -> int:
    """A disk is never smaller than the blob that it lies on: a cut off file system does not boot."""
    size = max(disk.size_gb * GIB, facts.virtual_size if facts else 0)
    if size == 0:
        raise Refused("instance.unsupported", f"{disk.device}: a disk without a blob needs a size")
    return size

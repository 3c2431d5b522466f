"""A bootable guest of 17 MB, built in seconds from what Debian packages have installed on this machine.

`build(cache)` answers the image's path; its name is the digest of everything that goes into it, so an unchanged machine
builds once and a new kernel makes a new image. The guest's own programs are the scripts in `lab/guest/`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = Path(__file__).parent / "guest"
BUSYBOX = Path("/bin/busybox")
PROGRAMS = tuple(map(Path, ("/usr/sbin/dropbear", "/usr/bin/dropbearkey", "/usr/sbin/qemu-ga")))
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_scsi", "virtio_console", "virtio-rng", "virtio_balloon"),
    *("sr_mod", "ata_piix", "isofs", "vfat", "ext4", "nls_cp437", "nls_ascii", "button", "evdev", "e1000"),
)
PLACES = {
    "init": "init",
    "report": "lib/tiny/report",
    "config-drive": "lib/tiny/config-drive",
    "network": "lib/tiny/network",
    "lease": "lib/tiny/lease",
    "shutdown": "sbin/shutdown",
    "info.cgi": "www/cgi-bin/info",
}
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "mnt/config", "mnt/root", "root/.ssh", "var/run", "var/log", "usr/sbin")
TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/shells": "/bin/sh\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\n",
}
BOOT = """DEFAULT tiny
PROMPT 0
TIMEOUT 0
LABEL tiny
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=tty0 console=ttyS0 quiet panic=-1 tsc=unstable
"""
DISK_BYTES = 24 * 2**20


def build(cache: Path) -> Path:
    """The image's path below `cache`. Raises FileNotFoundError when a needed package is missing."""
    cache.mkdir(parents=True, exist_ok=True)
    kernel = newest_kernel()
    image = cache / f"guest-{_digest(kernel)}.qcow2"
    if image.exists():
        return image
    with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as folder:
        work = Path(folder)
        _fill_root(work / "root", kernel)
        pack_root(work / "root", work / "initrd")
        _make_disk(work, kernel)
        (work / "disk.qcow2").replace(image)
    return image


def newest_kernel() -> str:
    """Release of the newest installed cloud kernel, such as 6.1.0-56-cloud-amd64."""
    releases = [path.name for path in Path("/lib/modules").glob("*-cloud-amd64")]
    if not releases:
        raise FileNotFoundError("no cloud kernel is installed (package linux-image-cloud-amd64)")
    return max(releases, key=lambda release: [int(number) for number in re.findall(r"\d+", release)])


def _digest(kernel: str) -> str:
    digest = hashlib.sha256(kernel.encode())
    inputs = [Path(__file__), *sorted(SCRIPTS.iterdir()), BUSYBOX, *PROGRAMS, Path(f"/boot/vmlinuz-{kernel}")]
    for path in inputs:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _fill_root(root: Path, kernel: str) -> None:
    for folder in ("bin", "lib/modules", *FOLDERS):
        (root / folder).mkdir(parents=True)
    for name, text in TEXTS.items():
        _place(root, name).write_text(text)
    for name, place in PLACES.items():
        shutil.copy(SCRIPTS / name, _place(root, place))
        (root / place).chmod(0o755)
    (root / "root/.ssh").chmod(0o700)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    # Where acpid looks for what to do about the power button.
    _place(root, "etc/acpi/PWRF/00000080").symlink_to("/sbin/shutdown")
    for program in (*PROGRAMS, LOADER, *_libraries()):
        shutil.copy(program, _place(root, str(program)[1:]))
    add_modules(root / "lib/modules", kernel, MODULES)


def _place(root: Path, name: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    return root / name


def _libraries() -> list[Path]:
    """The shared libraries of the programs, as the loader finds them."""
    listing = _output("ldd", *map(str, PROGRAMS))
    return [Path(path) for path in sorted(set(re.findall(r"=> (/\S+)", listing)))]


def add_modules(folder: Path, kernel: str, modules: Sequence[str]) -> None:
    """Copy the modules and name them in `order`, each after those that it needs."""
    found: dict[str, None] = {}
    for module in modules:
        # A module that the kernel has built in, or has not, needs no file.
        listing = subprocess.run(
            ["modprobe", "-S", kernel, "--show-depends", module], capture_output=True, text=True, check=False
        ).stdout
        found |= dict.fromkeys(re.findall(r"^insmod (\S+)", listing, re.MULTILINE))
    for path in found:
        shutil.copy(path, folder)
    _output("strip", "--strip-debug", *(str(folder / Path(path).name) for path in found))
    (folder / "order").write_text("".join(f"{Path(path).name}\n" for path in found))


def pack_root(root: Path, initrd: Path) -> None:
    """Everything below `root`, owned by root, as the kernel unpacks it."""
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet", "--owner=0:0"],
        cwd=root,
        input=names.encode(),
        check=True,
        capture_output=True,
    ).stdout
    subprocess.run(["zstd", "-q", "-9", "-o", str(initrd)], input=archive, check=True)


def _make_disk(work: Path, kernel: str) -> None:
    """A FAT file system over the whole disk, with a boot loader in its first sector: no partitions, no loop device."""
    disk = work / "disk.raw"
    with disk.open("wb") as file:
        os.truncate(file.fileno(), DISK_BYTES)
    (work / "syslinux.cfg").write_text(BOOT)
    shutil.copy(f"/boot/vmlinuz-{kernel}", work / "vmlinuz")
    _output("mkfs.fat", "-F", "16", "-n", "TINY", str(disk))
    _output("syslinux", "--install", str(disk))
    _output("mcopy", "-i", str(disk), *(str(work / name) for name in ("syslinux.cfg", "vmlinuz", "initrd")), "::/")
    _output("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(work / "disk.qcow2"))


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))

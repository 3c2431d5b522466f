"""A real Debian 12 cloud image of about 130 MB, built in a minute and a half by mmdebstrap: systemd, cloud-init, OpenSSH.

`build(cache)` answers the image's path; its name is the digest of what goes into it from here, so it is built once. The
kernel and its modules are those of this machine's package linux-image-cloud-amd64; everything else comes from the mirror.
"""

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.guest_image import BUSYBOX, add_modules, newest_kernel, pack_root

FILES = Path(__file__).parent / "debian"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
PACKAGES = (
    *("systemd-sysv", "systemd-resolved", "udev", "dbus", "kmod", "procps", "sudo", "netbase", "e2fsprogs"),
    *("iproute2", "iputils-ping", "cloud-init", "cloud-guest-utils", "openssh-server", "qemu-guest-agent"),
)
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/lib/udev/hwdb.d/*")
MASKED = (
    *("systemd-random-seed.service", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount"),
    *("modprobe@.service", "apt-daily.timer", "apt-daily-upgrade.timer", "cloud-init-hotplugd.socket"),
)
BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
FOREIGN_DRIVERS = ("gpu", "infiniband", "media", "nvme", "hid", "usb")
"""Folders of drivers that no guest of this cloud needs."""
BOOT = """DEFAULT debian
PROMPT 0
TIMEOUT 0
LABEL debian
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=tty0 console=ttyS0 quiet rw
"""
# It waits for router advertisements that no network here sends, fourteen seconds long; one link that routes is enough.
ONLINE = """[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --ipv4 -o routable
"""
# A guest without a config drive: cloud-init is off, an address is taken all the same.
FALLBACK = "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\n"
TEXTS = {
    "etc/fstab": "/dev/vda2 / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "localhost\n",
    "etc/machine-id": "",
    "etc/systemd/network/99-lease.network": FALLBACK,
    "etc/systemd/system/systemd-networkd-wait-online.service.d/online.conf": ONLINE,
}
SECTOR, MIB = 512, 2**20
BOOT_MIB, DISK_MIB = 40, 1536


def build(cache: Path) -> Path:
    """The image's path below `cache`. Raises CalledProcessError when a package cannot be had."""
    cache.mkdir(parents=True, exist_ok=True)
    kernel = newest_kernel()
    image = cache / f"debian-{_digest(kernel)}.qcow2"
    if image.exists():
        return image
    with tempfile.TemporaryDirectory(dir=cache, prefix="debian-") as folder:
        work = Path(folder)
        _install(work / "root")
        _configure(work / "root")
        _add_kernel(work / "root", kernel)
        _make_initrd(work, kernel)
        _make_disk(work, kernel)
        (work / "disk.qcow2").replace(image)
    return image


def _digest(kernel: str) -> str:
    digest = hashlib.sha256(kernel.encode())
    for path in (Path(__file__), *sorted(FILES.iterdir()), BUSYBOX, Path(f"/boot/vmlinuz-{kernel}")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
        done.check_returncode()


def _install(root: Path) -> None:
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    lean = ["--aptopt=APT::Install-Recommends false", *left_out]
    included = f"--include={','.join(PACKAGES)}"
    _run("mmdebstrap", "--mode=root", "--variant=minbase", included, *lean, "bookworm", str(root), MIRROR)


def _configure(root: Path) -> None:
    for name, text in TEXTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(FILES / "cloud.cfg", root / "etc/cloud/cloud.cfg")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each guest makes its own
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    _run("chroot", str(root), "systemctl", "enable", "systemd-networkd.service", "systemd-resolved.service")


def _add_kernel(root: Path, kernel: str) -> None:
    def foreign(folder: str, names: list[str]) -> set[str]:
        return set(names) & {*FOREIGN_DRIVERS, "build", "source"} if folder.endswith(("drivers", kernel)) else set()

    shutil.copytree(f"/lib/modules/{kernel}", root / "usr/lib/modules" / kernel, ignore=foreign, symlinks=True)
    _run("depmod", "-b", str(root), kernel)


def _make_initrd(work: Path, kernel: str) -> None:
    inner = work / "initrd-root"
    for folder in ("bin", "dev", "proc", "sys", "root", "lib/modules"):
        (inner / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, inner / "bin/busybox")
    shutil.copy(FILES / "init", inner / "init")
    (inner / "init").chmod(0o755)
    add_modules(inner / "lib/modules", kernel, BOOT_MODULES)
    pack_root(inner, work / "initrd")


def _make_disk(work: Path, kernel: str) -> None:
    """A boot sector and two partitions, put together as files: no loop device. The root is last, so that it can grow."""
    disk, boot = work / "disk.raw", work / "boot.raw"
    boot_start, root_start = MIB // SECTOR, (1 + BOOT_MIB) * MIB // SECTOR
    os.truncate(_emptied(boot), BOOT_MIB * MIB)
    (work / "syslinux.cfg").write_text(BOOT)
    shutil.copy(f"/boot/vmlinuz-{kernel}", work / "vmlinuz")
    _run("mkfs.fat", "-F", "16", "-n", "BOOT", "-h", str(boot_start), str(boot))
    _run("syslinux", "--install", str(boot))
    _run("mcopy", "-i", str(boot), *(str(work / name) for name in ("syslinux.cfg", "vmlinuz", "initrd")), "::/")
    os.truncate(_emptied(disk), DISK_MIB * MIB)
    with disk.open("r+b") as file:
        file.write(_boot_sector((0x80, 0x0E, boot_start, BOOT_MIB), (0, 0x83, root_start, DISK_MIB - BOOT_MIB - 1)))
        file.seek(boot_start * SECTOR)
        file.write(boot.read_bytes())
    place = f"offset={root_start * SECTOR}"
    size = f"{DISK_MIB - BOOT_MIB - 1}M"
    _run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(work / "root"), "-E", place, str(disk), size)
    packed = ["-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd"]
    _run("qemu-img", "convert", *packed, str(disk), str(work / "disk.qcow2"))


def _emptied(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _boot_sector(*partitions: tuple[int, int, int, int]) -> bytes:
    """Syslinux's, and a table of (flags, type, first sector, MiB)."""
    code = Path("/usr/lib/syslinux/mbr/mbr.bin").read_bytes().ljust(446, b"\0")
    table = b"".join(
        struct.pack("<B3xB3xII", flags, kind, start, size * MIB // SECTOR) for flags, kind, start, size in partitions
    )
    return code + table.ljust(64, b"\0") + b"\x55\xaa"


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))

"""What this machine is: its size, the MTU of a bridge, the networks on a device, which port is free."""

import errno
import hashlib
import ipaddress
import os
import shutil
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from nodeagent.config import Reserve, Share
from nodeagent.host import Capacity, Refused

ROUTES = Path("/proc/net/route")
PROCESSORS = Path("/proc/cpuinfo")
MEMORY = Path("/proc/meminfo")
FIRMWARE = Path("/usr/share/qemu/firmware")


def capacity(share: Share, reserve: Reserve, state: Path, acceleration: str) -> Capacity:
    """What the cloud may use: the operator's share, else what is there less the reserve, a tenth of the disk at least."""
    threads, memory_mb, disk_gb = os.cpu_count() or 1, _memory_mb(), shutil.disk_usage(state).total // 2**30
    offered = {
        "cpus": share.cpus or _less(threads, reserve.cpus),
        "memory_mb": share.memory_mb or _less(memory_mb, reserve.memory_mb),
        "disk_gb": share.disk_gb or _less(disk_gb, max(reserve.disk_gb, disk_gb // 10)),
    }
    kept = {"cpus": threads, "memory_mb": memory_mb, "disk_gb": disk_gb}
    reserved = {name: max(0, there - offered[name]) for name, there in kept.items()}
    facts = {
        "acceleration": acceleration,
        "cpu_model": cpu_model(acceleration),
        "vsock": has_vsock(),
        "disk_free_gb": free_gb(state),
        "reserved": reserved,
    }
    return Capacity(**offered, extra=facts)


def _less(there: int, reserved: int) -> int:
    """A small machine keeps half of what it has, rounded down: never its last thread is taken from guests."""
    return there - min(reserved, there // 2)


def cpu_model(acceleration: str, table: Path = PROCESSORS) -> str:
    """What a running guest sees of this machine's processor: only to one with the same can it move (EN-8). TCG shows none."""
    if acceleration != "kvm":
        return ""
    lines = [line.partition(":") for line in table.read_text().partition("\n\n")[0].splitlines()]
    told = {name.strip(): value.strip() for name, _, value in lines}
    flags = hashlib.sha256(" ".join(sorted(told.get("flags", "").split())).encode()).hexdigest()
    return f"{told.get('model name', 'unknown')} {flags[:16]}"


def free_gb(state: Path) -> int:
    return shutil.disk_usage(state).free // 2**30


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def measured(state: Path, table: Path = MEMORY) -> dict[str, float]:
    """What is in use now: threads (the load of the last minute), MiB, GiB of the file system that guests' disks are on."""
    memory = _memory_kb(table)
    return {
        "cpus": round(os.getloadavg()[0], 2),
        "memory_mb": (memory["MemTotal"] - memory["MemAvailable"]) // 1024,
        "disk_gb": shutil.disk_usage(state).used // 2**30,
    }


def _memory_kb(table: Path) -> dict[str, int]:
    lines = [line.partition(":") for line in table.read_text().splitlines()]
    return {name: int(value.split()[0]) for name, _, value in lines}


def explain(memory_mb: int, places: Iterable[tuple[str, int]], error: Exception, table: Path = MEMORY) -> None:
    """Raises Refused("port.taken") or ("memory.full") when that is why a guest did not start.

    Only looked for after a start has failed: guests take their memory bit by bit, so one may start where it is scarce.
    """
    for address, port in places:
        if not is_free(address, port):
            raise Refused("port.taken", f"port {port} is in use on {address}", port=port) from error
    memory = _memory_kb(table)
    free = (memory["MemAvailable"] + memory["SwapFree"]) // 1024  # what guests may still get
    if free < memory_mb:
        raise Refused("memory.full", f"{free} MiB of memory are free, {memory_mb} are needed") from error


def has_vsock() -> bool:
    return os.path.exists("/dev/vhost-vsock")


def device_mtu(device: str) -> int | None:
    """None when there is no such device."""
    try:
        return int(Path(f"/sys/class/net/{device}/mtu").read_text())
    except FileNotFoundError:
        return None


def has_uefi() -> bool:
    """Whether a firmware for UEFI guests is installed (Debian's package ovmf)."""
    return any(FIRMWARE.glob("*ovmf*.json")) or any(FIRMWARE.glob("*edk2-x86_64*.json"))


def networks_on(device: str, table: Path = ROUTES) -> list[ipaddress.IPv4Network]:
    """The IPv4 networks that the kernel reaches directly over the device, as the routing table has them."""
    found = []
    for line in table.read_text().splitlines()[1:]:
        name, destination, gateway, *rest = line.split()
        if name == device and int(gateway, 16) == 0:
            address, mask = (socket.inet_ntoa(struct.pack("=L", int(text, 16))) for text in (destination, rest[4]))
            found.append(ipaddress.IPv4Network(f"{address}/{mask}"))
    return found


def is_free(address: str, port: int) -> bool:
    """False when somebody else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True

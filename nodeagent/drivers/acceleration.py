"""Whether guests run on KVM or on QEMU's translator: found out by running a guest, for all else has been seen to lie.

A host may have /dev/kvm, create machines and list long mode, and still never get a 64-bit guest to run. So a boot sector
is run that switches the processor to long mode and then writes to QEMU's debug exit port; only a guest that got there
makes QEMU end with the expected status.
"""

import json
import os
import tempfile
from pathlib import Path

from nodeagent.drivers import command
from nodeagent.drivers.layout import appearing

QEMU = Path("/usr/bin/qemu-system-x86_64")
PROBE_SECONDS = 5.0
PASSED = 0x2A << 1 | 1

# What SECTOR is the assembly of (GNU as, 32-bit object, linked at 0x7c00). Page tables at 0x8000, 0x9000 and 0xa000 map
# the first 2 MiB to themselves.
SOURCE = """
        .code16
        .globl _start
_start: cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp

        movw    $0x8000, %di            # clear the three tables
        movw    $0x1800, %cx
        rep stosw
        movw    $0x9003, 0x8000         # level 4 -> level 3, present and writable
        movw    $0xa003, 0x9000         # level 3 -> level 2
        movw    $0x0083, 0xa000         # level 2: one page of 2 MiB at 0

        movl    $0x8000, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $1 << 5, %eax           # physical address extension
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx       # EFER
        rdmsr
        orl     $1 << 8, %eax           # long mode enable
        wrmsr
        lgdt    table
        movl    %cr0, %eax
        orl     $1 << 31 | 1, %eax      # paging and protection, and with them long mode
        movl    %eax, %cr0
        ljmp    $0x08, $inside

        .code64
inside: movl    $0x2a, %eax
        outb    %al, $0xf4              # QEMU ends with this value twice and one more
stay:   hlt
        jmp     stay

        .balign 8
gates:  .quad   0
        .quad   0x00209b0000000000      # code, 64 bits
table:  .word   table - gates - 1
        .long   gates

        .org    510
        .word   0xaa55
"""
SECTOR = (
    bytes.fromhex(
        """
    fafc31c08ed88ec08ed0bc007cbf0080b90018f3abc70600800390c706009003a0c70600a0830066b8008000000f22d8
    0f20e06683c8200f22e066b9800000c00f32660d000100000f300f0116807c0f20c0660d010000800f22c0ea607c0800
    b82a000000e6f4f4ebfd8db600000000000000000000000000000000009b20000f00707c
    """
    ).ljust(510, b"\x00")
    + b"\x55\xaa"
)


def find(override: str, cache: Path) -> str:
    """ "kvm" or "tcg". `override` is the operator's word; the answer is kept in `cache` until QEMU or the kernel changes."""
    if override:
        return override
    key = _machine_key()
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("key") == key:
        return str(known["acceleration"])
    acceleration = "kvm" if runs_long_mode("kvm", "host") else "tcg"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with appearing(cache, str(os.getpid())) as temporary:
        temporary.write_text(json.dumps({"key": key, "acceleration": acceleration}))
    return acceleration


def runs_long_mode(accelerator: str, processor: str) -> bool:
    """Run the boot sector with that accelerator and processor model; true when a guest reached long mode."""
    with tempfile.NamedTemporaryFile(suffix=".img") as image:
        image.write(SECTOR)
        image.flush()
        try:
            command.run(_probe_command(accelerator, processor, image.name), timeout=PROBE_SECONDS)
        except command.CommandFailed as error:
            return error.status == PASSED
        except command.CommandTimeout:
            return False
    return False


def _probe_command(accelerator: str, processor: str, image: str) -> list[str]:
    return [
        str(QEMU),
        *("-machine", f"pc,accel={accelerator}", "-cpu", processor, "-m", "32"),
        *("-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-drive", f"file={image},format=raw,if=ide"),
    ]


def _machine_key() -> str:
    status = QEMU.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{status.st_mtime_ns}.{status.st_size}.{os.uname().release}.{boot}.{os.path.exists('/dev/kvm')}"

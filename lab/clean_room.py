"""`make clean-room`: the install step and the fast tests in a Debian 12 that has nothing else, a chroot that is then removed.

Shows that the package lists and pins are complete. Only committed files go in. Runs on the system's Python.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
FIRST_PACKAGES = ("ca-certificates", "make", "python3")
DEVICES = (
    "for each in null zero random urandom full tty; do touch $0/dev/$each; mount --bind /dev/$each $0/dev/$each; done;"
    " mkdir -p $0/dev/shm"
)
"""A shell's line that gives the root in $0 what every machine has in /dev."""
PLACE = "opt/steadyfist"


def main() -> int:
    room = Path(tempfile.mkdtemp(prefix="sfroom", dir="/var/tmp"))
    try:
        for what, act in (("system", make_system), ("code", _copy_code), ("tests", _run_tests)):
            begin = time.monotonic()
            act(room)
            print(f"clean room: {what}: {time.monotonic() - begin:.0f} s", flush=True)
    except subprocess.CalledProcessError as error:
        print(f"clean room: {' '.join(map(str, error.cmd[:4]))} ended with {error.returncode}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(room)
    return 0


def make_system(room: Path, packages: Iterable[str] = FIRST_PACKAGES, variant: str = "minbase") -> None:
    """The same package sources, proxy and name service as this machine. `variant` is one of mmdebstrap's."""
    if shutil.which("mmdebstrap") is None:
        subprocess.run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "-q", "install", "-y", "mmdebstrap"], check=True)
    options = [f"--variant={variant}", "--mode=root", "--quiet", f"--include={','.join(packages)}"]
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    usable = [str(path) for path in lists if path.is_file() and _is_debian(path.read_text())]
    subprocess.run(["mmdebstrap", *options, SUITE, str(room), *usable], check=True)
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).is_file():
            shutil.copy(Path("/", name), room / name)
    for path in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
        shutil.copy(path, room / "etc/apt/apt.conf.d")


def _is_debian(sources: str) -> bool:
    return SUITE in sources and "debian" in sources


def _copy_code(room: Path) -> None:
    (room / PLACE).mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPOSITORY, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(room / PLACE)], input=archive, check=True)


def _run_tests(room: Path) -> None:
    """In namespaces of their own, so that nothing that they start or mount outlives them."""
    inside = (
        "mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /dev/shm && "
        f"cd /{PLACE} && make install && make fast"
    )
    script = f"{DEVICES}; exec chroot $0 /bin/sh -c '{inside}'"
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    kept = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "SSL_CERT_FILE")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    environment |= {name: os.environ[name] for name in kept if name in os.environ}
    subprocess.run([*namespaces, "sh", "-c", script, str(room)], env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())

"""What a fresh Debian 12 lacks: packages, the virtual environment, the agent's user. Nothing is done twice.

Runs on the system's Python, before there is a virtual environment, so it imports nothing but the standard library.
"""

import grp
import hashlib
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".venv"
CLIENT = REPOSITORY / "client"
STAMP = ENVIRONMENT / "requirements.sha256"
SYSTEM_PYTHON = "/usr/bin/python3"
USER, GROUPS = "steadyfist", ("libvirt", "kvm")
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-q")


def main() -> int:
    if os.getuid() != 0:
        print("root is needed: this installs Debian packages and adds a system user", file=sys.stderr)
        return 1
    install_packages()
    make_environment()
    add_user()
    return 0


def install_packages() -> None:
    names = sorted({line for path in _lists() for line in _lines(path)})
    present = _present(names)
    missing = [name for name in names if name not in present]
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run("package lists", [*APT, "update"], environment)
    command = [*APT, "install", "--yes", "--no-install-recommends", *missing]
    _run(f"{len(missing)} packages", command, environment)


def make_environment() -> None:
    """Anew whenever a requirement changed. One that is a link belongs to whoever made the link."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted([*(REPOSITORY / "requirements").glob("*.txt"), *CLIENT.glob("*.toml"), *CLIENT.glob("*/*.py")]):
        digest.update(path.read_bytes())
    if ENVIRONMENT.is_symlink() or (STAMP.exists() and STAMP.read_text() == digest.hexdigest()):
        return
    _run("virtual environment", [SYSTEM_PYTHON, "-m", "venv", "--clear", str(ENVIRONMENT)])
    requirements = str(REPOSITORY / "requirements" / "dev.txt")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    _run("Python packages", [str(ENVIRONMENT / "bin" / "pip"), "install", *quiet, "-r", requirements])
    _run("the client's plug-in", [str(ENVIRONMENT / "bin" / "pip"), "install", *quiet, "--no-deps", str(CLIENT)])
    STAMP.write_text(digest.hexdigest())


def add_user() -> None:
    """The agent's own user, and the folders where a host has its configuration and state."""
    try:
        pwd.getpwnam(USER)
    except KeyError:
        home = ["--home-dir", f"/var/lib/{USER}", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        _run(f"user {USER}", ["useradd", "--system", "--user-group", *home, USER])
    lacking = [group for group in GROUPS if USER not in grp.getgrnam(group).gr_mem]
    if lacking:
        _run(f"groups of {USER}", ["usermod", "--append", "--groups", ",".join(lacking), USER])
    Path(f"/etc/{USER}").mkdir(exist_ok=True)
    Path(f"/var/lib/{USER}").mkdir(mode=0o755, exist_ok=True)


def _lists() -> list[Path]:
    """Those that only `make prove` needs are left out of everything else."""
    found = sorted((REPOSITORY / "deploy").glob("packages-*.txt"))
    return [path for path in found if path.stem != "packages-prove" or os.environ.get("PROVE")]


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def _present(names: list[str]) -> set[str]:
    """Those that are installed, or that an installed package provides."""
    form = "${db:Status-Status} ${Package} ${Provides}\n"
    listing = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    found: set[str] = set()
    for line in listing.splitlines():
        status, *words = line.replace(",", " ").split()
        if status == "installed":
            found.update(words)
    return found & set(names)


def _run(what: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    begin = time.monotonic()
    print(f"  installing {what} …", flush=True)
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"installing {what} failed: {' '.join(command[:6])} ended with {done.returncode}")
    print(f"  installed {what}: {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())

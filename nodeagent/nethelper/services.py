"""The only two programs this process ever starts: dnsmasq and ping, inside a router namespace, with fixed arguments.

dnsmasq's configuration is written from typed fields, in a directory of its own per router. The process is known by its
pid file *and* its command line, never by its name alone, so one that a former instance of this process started is taken
over and a stranger with a recycled pid is left alone. It outlives this process on purpose: guests keep their DHCP while
it restarts, and the lease gate stops a forgotten one. `loaded` names what the running process has read.
"""

import errno
import hashlib
import ipaddress
import math
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nodeagent.nethelper import names
from nodeagent.nethelper.namespaces import Namespace
from nodeagent.nethelper.protocol import DhcpLease, Echo, NetworkError
from nodeagent.specs import RouterSpec

DNSMASQ = "/usr/sbin/dnsmasq"
PING = "/usr/bin/ping"
LEASE_TIME = "1h"
PING_INTERVAL = 0.2
_START_SECONDS = 10.0
_STOP_SECONDS = 2.0
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Files:
    """What one router's resolver reads and writes."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "dnsmasq.conf"

    @property
    def hosts(self) -> Path:
        return self.directory / "hosts"

    @property
    def records(self) -> Path:
        return self.directory / "records"

    @property
    def leases(self) -> Path:
        return self.directory / "leases"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def loaded(self) -> Path:
        return self.directory / "loaded"


@dataclass(frozen=True)
class Witness:
    """One thing that a living resolver knows: a MAC and the address it is offered, a name and the address it stands for.

    An empty MAC or name: nobody can ask for that. An empty `name_address`: any answer will do.
    """

    mac: str
    address: str
    name: str
    name_address: str


def resolver_user() -> str:
    """The unprivileged user that dnsmasq runs as."""
    with suppress(KeyError):
        return pwd.getpwnam("dnsmasq").pw_name
    return "nobody"


def configuration(spec: RouterSpec, mtu: int, files: Files) -> str:
    """The whole of dnsmasq.conf. Every value is a number, an address, a checked name or our own path (SE-13)."""
    lines = [
        f"user={resolver_user()}",
        f"pid-file={files.pid}",
        f"interface={names.inside(spec.vni)}",
        "except-interface=lo",
        "bind-interfaces",
        "no-resolv",
        "no-hosts",
        f"domain={spec.domain}",
    ]
    if spec.dns:
        lines += [f"local=/{spec.domain}/", "domain-needed", "bogus-priv", f"addn-hosts={files.records}"]
        lines += [f"server={server}" for server in spec.upstream]
    else:
        lines.append("port=0")
    if spec.dhcp:
        lines += _dhcp_lines(spec, mtu, files)
    return "\n".join(lines) + "\n"


def _dhcp_lines(spec: RouterSpec, mtu: int, files: Files) -> list[str]:
    block = ipaddress.IPv4Network(spec.netblock)
    return [
        f"dhcp-range={block.network_address},static,{block.netmask},{LEASE_TIME}",
        f"dhcp-hostsfile={files.hosts}",
        f"dhcp-leasefile={files.leases}",
        "dhcp-lease-max=65536",
        "dhcp-authoritative",
        "dhcp-ignore-names",
        "quiet-dhcp",
        f"dhcp-option=option:router,{spec.gateway}",
        ",".join(["dhcp-option=option:dns-server", *_nameservers(spec)]),
        # Forced: not every client asks for the MTU, and one that uses more than there is loses its large frames.
        f"dhcp-option-force=option:mtu,{mtu}",
    ]


def _nameservers(spec: RouterSpec) -> tuple[str, ...]:
    """Only the network's own resolver where it has one (DN-5); the outside's where the guests can reach them; or none."""
    if spec.dns:
        return (spec.gateway,)
    return spec.upstream if spec.egress is not None else ()


def host_lines(spec: RouterSpec) -> str:
    return "".join(f"{host.mac},{host.address},{host.name}\n" for host in spec.hosts)


def record_lines(spec: RouterSpec) -> str:
    """Each name bare and within the domain: known whether or not the guest has asked for a DHCP lease yet (DN-1)."""
    named = [(host.name, host.address) for host in spec.hosts] + [(each.name, each.address) for each in spec.records]
    return "".join(f"{address} {qualified(name, spec.domain)} {name}\n" for name, address in named)


def qualified(name: str, domain: str) -> str:
    return name if name.endswith(f".{domain}") else f"{name}.{domain}"


class Resolver:
    """The dnsmasq of one router. Not for two threads at once: callers hold the router's lock."""

    def __init__(self, root: Path, name: str) -> None:
        self._name = name
        self.files = Files(root / name)

    def settle(self, router: Namespace, spec: RouterSpec, mtu: int) -> tuple[str, Witness]:
        """Make it run with exactly this, and say what to ask it by.

        "" when it does already, or what was done: "started", "restarted" or "reloaded".
        """
        texts = {
            self.files.configuration: configuration(spec, mtu, self.files),
            self.files.hosts: host_lines(spec),
            self.files.records: record_lines(spec),
        }
        digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts.values()]
        loaded = _read(self.files.loaded).split()
        running = self.is_running()
        stale = self._stale_leases(spec) if loaded != digests else set()
        before = self._lines()
        if running and loaded == digests:
            return "", self.witness()
        _make_readable_directory(self.files.directory)
        for path, text in texts.items():
            _write(path, text)
        if running and loaded[:1] == digests[:1] and not stale:
            self._signal(signal.SIGHUP)
        else:
            self.stop()
            self._drop_leases(stale)
            self._start(router)
        _write(self.files.loaded, "\n".join(digests))
        if not running:
            return "restarted" if loaded else "started", self.witness(before)
        return "reloaded", self.witness(before)

    def restart(self, router: Namespace) -> None:
        """For one that runs and does not answer; nor would it to a request to end."""
        self._end(signal.SIGKILL)
        self._start(router)

    def witness(self, before: frozenset[str] = frozenset()) -> Witness:
        """What it must know by its files: a line that was not there `before` rather than one that was (DN-2)."""
        settings = dict(line.split("=", 1) for line in _read(self.files.configuration).splitlines() if "=" in line)
        host = _newest(_read(self.files.hosts).splitlines(), before)
        record = _newest(_read(self.files.records).splitlines(), before)
        mac, address = host.split(",")[:2] if host and "dhcp-range" in settings else ("", "")
        name_address, name = record.split()[:2] if record else ("", settings.get("domain", ""))
        return Witness(mac, address, "" if settings.get("port") == "0" else name, name_address)

    def _lines(self) -> frozenset[str]:
        return frozenset((*_read(self.files.hosts).splitlines(), *_read(self.files.records).splitlines()))

    def remove(self) -> bool:
        """End it and take its files away; whether there was anything."""
        self.stop()
        if not self.files.directory.exists():
            return False
        shutil.rmtree(self.files.directory)
        return True

    def is_running(self) -> bool:
        with self._process() as process:
            return process is not None

    def stop(self) -> None:
        self._end(signal.SIGTERM, signal.SIGKILL)

    def _end(self, *signals: signal.Signals) -> None:
        for number in signals:
            with self._process() as process:
                if process is None:
                    break
                signal.pidfd_send_signal(process, number)
                _wait_for_end(process)
        self.files.pid.unlink(missing_ok=True)

    def leases(self) -> tuple[DhcpLease, ...]:
        rows = [line.split() for line in _read(self.files.leases).splitlines()]
        return tuple(
            DhcpLease(mac=row[1], address=row[2], name="" if row[3] == "*" else row[3], expires=int(row[0]))
            for row in rows
            if len(row) == 5 and row[0].isdigit()
        )

    def _stale_leases(self, spec: RouterSpec) -> set[str]:
        """MACs whose lease is no longer theirs: dnsmasq would keep the address from its new owner for an hour (DN-4)."""
        reserved = {(host.mac, host.address) for host in spec.hosts}
        return {lease.mac for lease in self.leases() if (lease.mac, lease.address) not in reserved}

    def _drop_leases(self, macs: set[str]) -> None:
        if macs:
            lines = _read(self.files.leases).splitlines(keepends=True)
            _write(
                self.files.leases, "".join(line for line in lines if line.split()[1:2] and line.split()[1] not in macs)
            )

    def _start(self, router: Namespace) -> None:
        command = [DNSMASQ, f"--conf-file={self.files.configuration}"]
        code, _, failure = run_inside(router, command, _START_SECONDS)
        if code != 0:
            raise NetworkError(errno.EIO, f"resolver of {self._name}", failure.strip() or f"exit code {code}")

    def _signal(self, number: signal.Signals) -> None:
        with self._process() as process:
            if process is not None:
                signal.pidfd_send_signal(process, number)

    @contextmanager
    def _process(self) -> Iterator[int | None]:
        """A descriptor of the running process, or None. Opened before it is verified, so the pid cannot change owner."""
        text = _read(self.files.pid).strip()
        descriptor = -1
        if text.isdigit():
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(int(text))
        try:
            ours = descriptor >= 0 and self._is_ours(int(text))
            yield descriptor if ours else None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _is_ours(self, pid: int) -> bool:
        """A zombie has no command line, so it is none."""
        with suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return arguments[0] == DNSMASQ.encode() and f"--conf-file={self.files.configuration}".encode() in arguments
        return False


def ping(router: Namespace, address: str, count: int) -> Echo:
    """`count` echoes to `address`, five a second; what was printed, loss included (HP-6)."""
    seconds = 2 + math.ceil(count * PING_INTERVAL)
    command = [PING, "-n", "-c", str(count), "-i", str(PING_INTERVAL), "-w", str(seconds), address]
    _, output, failure = run_inside(router, command, seconds + 3.0)
    return Echo(stdout=tuple(output.splitlines()), stderr=tuple(failure.splitlines()))


def run_inside(router: Namespace, command: list[str], seconds: float) -> tuple[int, str, str]:
    """(exit code, output, errors) of one of the two programs, started inside the namespace and waited for outside."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = router.inside(lambda: subprocess.Popen(command, env=_ENVIRONMENT, cwd="/", text=True, **pipes))  # type: ignore[call-overload]
    with child:
        try:
            output, failure = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            raise NetworkError(errno.ETIMEDOUT, Path(command[0]).name, f"no end within {seconds:.0f} s") from None
    return child.returncode, output, failure


def _wait_for_end(process: int) -> None:
    """Until the process of this descriptor has ended, or the patience has. By poll: descriptors may be many."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(_STOP_SECONDS * 1000)


def _newest(lines: list[str], before: frozenset[str]) -> str:
    return next((line for line in lines if line not in before), lines[-1] if lines else "")


def _read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all, for a reader that looks at any moment; readable by dnsmasq's own user."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(path)


def _make_readable_directory(directory: Path) -> None:
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for each in (directory, *directory.parents):
        if not each.stat().st_mode & stat.S_IXOTH:
            raise NetworkError(
                errno.EACCES, str(each), f"user {resolver_user()} cannot enter it to read its configuration"
            )

"""Network namespaces, and what the process holds in each: a netlink socket, an nftables context and a lock.

One thread, the door, does everything that depends on which namespace a thread is in: it enters, acts, and leaves again.
No other thread ever leaves the node's own namespace, which is the one that the process was started in. A name whose
inode changed is another namespace than before: what was held for the old one is dropped (NL-8).
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from nodeagent.nethelper.netlink import Netlink
from nodeagent.nethelper.nftables import Nftables
from nodeagent.nethelper.protocol import NetworkError

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"


def _checked(result: int, name: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise NetworkError(code, name, os.strerror(code))


class Door:
    """The one thread that goes into namespaces. Work handed to it is short: it is one piece at a time for all networks."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="door")
        self.home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self.home)

    def inside(self, namespace: int, work: Callable[[], T]) -> T:
        """What `work` returns when it runs in the namespace of descriptor `namespace`."""
        return self._thread.submit(self._visit, namespace, work).result()

    def create(self, path: Path) -> None:
        """Make a namespace and bind it to `path`; nothing is left when that fails."""
        self._thread.submit(self._create, path).result()

    def _visit(self, namespace: int, work: Callable[[], T]) -> T:
        _checked(_LIBC.setns(namespace, _CLONE_NEWNET), "namespace")
        try:
            return work()
        finally:
            self._leave()

    def _create(self, path: Path) -> None:
        path.touch(mode=0o444)
        try:
            _checked(_LIBC.unshare(_CLONE_NEWNET), path.name)
            try:
                _checked(_LIBC.mount(_OWN.encode(), bytes(path), None, _MS_BIND, None), path.name)
            finally:
                self._leave()
        except BaseException:
            path.unlink()
            raise

    def _leave(self) -> None:
        if _LIBC.setns(self.home, _CLONE_NEWNET) != 0:
            # A door that stands in a tenant's namespace would do the node's work there. Nothing is worse; start afresh.
            os.abort()


class Namespace:
    """What is held in one namespace. Use it with its `lock`: one piece of work at a time."""

    def __init__(self, door: Door, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.inode = os.fstat(descriptor).st_ino
        self.lock = threading.RLock()
        self._door = door
        self._rules: Nftables | None = None
        self.netlink: Netlink = door.inside(descriptor, Netlink)

    def inside(self, work: Callable[[], T]) -> T:
        return self._door.inside(self.descriptor, work)

    def nft(self, work: Callable[[Nftables], T]) -> T:
        """What `work` returns with this namespace's rules; runs inside the namespace."""
        return self.inside(lambda: work(self._nftables()))

    def write_setting(self, path: str, value: str) -> bool:
        """Make the sysctl /proc/sys/net/`path` read `value`; whether that changed it. One that the kernel lacks is left."""
        return self.inside(lambda: _write_setting(Path("/proc/sys/net") / path, value))

    @property
    def writes(self) -> int:
        return self.netlink.writes + (self._rules.writes if self._rules else 0)

    def close(self) -> None:
        self.netlink.close()
        if self._rules:
            self._rules.close()
        os.close(self.descriptor)

    def _nftables(self) -> Nftables:
        if self._rules is None:
            self._rules = Nftables()
        return self._rules


def _write_setting(path: Path, value: str) -> bool:
    with suppress(FileNotFoundError):
        if path.read_text().strip() != value:
            path.write_text(value)
            return True
    return False


class Namespaces:
    """The node's own namespace and the named ones in `directory`.

    A name is a mount: a unit that gives this process a mount namespace of its own loses all of them with each restart.
    """

    def __init__(self, directory: Path = Path("/run/netns")) -> None:
        self.directory = directory
        self.door = Door()
        self.node = Namespace(self.door, "node", os.dup(self.door.home))
        self._held: dict[str, Namespace] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        for namespace in (*self._held.values(), self.node):
            namespace.close()
        self.door.close()

    def names(self) -> list[str]:
        """All names there are, dead leftovers included. Raises OSError when the directory cannot be read."""
        with suppress(FileNotFoundError):
            return sorted(os.listdir(self.directory))
        return []

    def find(self, name: str) -> Namespace | None:
        """The namespace of that name as it is now, or None where there is none."""
        try:
            descriptor = os.open(self.directory / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._drop(name)
            return None
        with self._lock:
            held = self._held.get(name)
            if held is not None and held.inode == os.fstat(descriptor).st_ino:
                os.close(descriptor)
                return held
        self._drop(name)
        return self._hold(name, descriptor)

    def ensure(self, name: str) -> tuple[Namespace, bool]:
        """The namespace of that name, and whether it had to be made."""
        found = self.find(name)
        if found is not None:
            return found, False
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.door.create(self.directory / name)
        found = self.find(name)
        if found is None:
            raise NetworkError(errno.ENOENT, name, "gone as soon as it was made")
        return found, True

    def remove(self, name: str) -> bool:
        """Take the name away and let go of it; the kernel ends it and its devices. Whether there was one."""
        self._drop(name)
        path = self.directory / name
        if not path.exists():
            return False
        if _LIBC.umount2(bytes(path), _MNT_DETACH) != 0 and ctypes.get_errno() != errno.EINVAL:
            _checked(-1, name)
        path.unlink(missing_ok=True)
        return True

    def _hold(self, name: str, descriptor: int) -> Namespace | None:
        try:
            namespace = Namespace(self.door, name, descriptor)
        except NetworkError as error:
            os.close(descriptor)
            if error.errno != errno.EINVAL:
                raise
            # A plain file: a namespace was to be bound here, or its mount is gone with a reboot.
            (self.directory / name).unlink(missing_ok=True)
            return None
        with self._lock:
            self._held[name] = namespace
        return namespace

    def _drop(self, name: str) -> None:
        with self._lock:
            held = self._held.pop(name, None)
        if held is not None:
            held.close()

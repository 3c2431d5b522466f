"""What of root's power the process keeps. It stays uid 0, for the files and the namespaces it owns, and no more than that.

Its safety is the typed protocol; this is what remains if that fails.
"""

import ctypes
import errno
import os

NET_ADMIN, NET_RAW, SYS_ADMIN = 12, 13, 21
KILL, SETGID, SETUID, NET_BIND_SERVICE = 5, 6, 7, 10

KEPT = frozenset(
    {
        NET_ADMIN,  # links, addresses, routes, rules, sysctls of a namespace
        NET_RAW,  # announcements, the DHCP question, ping
        SYS_ADMIN,  # making, binding and entering namespaces
        NET_BIND_SERVICE,  # dnsmasq's ports 53 and 67
        SETUID,  # dnsmasq becoming its own user
        SETGID,
        KILL,  # ending and reloading dnsmasq, which is another user's by then
    }
)
_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Word(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def drop() -> None:
    """Give up everything else for good, for this thread and all that it starts. Call it before there is another thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    number = 0
    while libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in KEPT:
            _checked(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
        number += 1
    words = (_Word * 2)()
    for kept in KEPT:
        words[kept // 32].effective |= 1 << kept % 32
        words[kept // 32].permitted |= 1 << kept % 32
    _checked(libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), words))


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno() or errno.EPERM
        raise OSError(code, f"capabilities: {os.strerror(code)}")

"""The questions that prove a resolver alive: a DHCP DISCOVER and a DNS query, asked as a guest would (HC-26, DN-6).

A process that exists proves nothing. The DISCOVER enters by the router's plug in the bridge, so that it passes the
device, the lease gate and the socket that a guest's would, without being flooded to the guests of the network.
"""

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial

from nodeagent.nethelper.namespaces import Namespace

_SECONDS = 0.7
_TRIES = 3
_COOKIE = b"\x63\x82\x53\x63"
_ETH_IP, _ETH_ALL = 0x0800, 0x0003
_IP_BROADCAST = b"\xff\xff\xff\xff"
# Locally administered, never a guest's: the frame's source, so that no switch learns a guest's address from a question.
_ASKER = bytes.fromhex("025346000001")
_ETHERNET, _IP, _UDP = 14, 20, 8
_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")


def dhcp_answers(node: Namespace, port: str, mac: str, address: str) -> bool:
    """Whether a DISCOVER from `mac`, sent in by the router's plug `port`, is answered by an offer of `address`."""
    with closing(node.inside(lambda: _frames_of(port))) as raw:
        for _ in range(_TRIES):
            transaction = int.from_bytes(os.urandom(4), "big")
            raw.send(_discover(mac, transaction))
            if _awaits(raw, partial(_offers, transaction, address)):
                return True
    return False


def dns_answers(router: Namespace, server: str, name: str, address: str) -> bool:
    """Whether `server` resolves `name` to `address`; with no address, whether it answers for `name` at all."""
    asker = router.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with closing(asker):
        asker.connect((server, 53))
        for _ in range(_TRIES):
            number = int.from_bytes(os.urandom(2), "big")
            try:
                asker.send(_query(name, number))
                if _awaits(asker, partial(answered, number, address)):
                    return True
            except ConnectionRefusedError:
                time.sleep(_SECONDS / 10)
    return False


def _frames_of(device: str) -> socket.socket:
    """A socket for all frames of one device; one for IPv4 alone would not hear what the bridge takes from its port.

    It hears nothing until it is bound, so never another device's.
    """
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        raw.bind((device, _ETH_ALL))
    except OSError:
        raw.close()
        raise
    return raw


def _discover(mac: str, transaction: int) -> bytes:
    hardware = bytes.fromhex(mac.replace(":", ""))
    nowhere = bytes(4)
    bootp = _BOOTP.pack(1, 1, 6, 0, transaction, 0, 0, nowhere, nowhere, nowhere, nowhere, hardware, b"", b"")
    bootp += _COOKIE + b"\x35\x01\x01" + b"\xff"
    length = _UDP + len(bootp)
    udp = struct.pack("!HHHH", 68, 67, length, 0) + bootp
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, _IP + length, 0, 0, 64, 17, 0, nowhere, _IP_BROADCAST)
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return b"\xff" * 6 + _ASKER + struct.pack("!H", _ETH_IP) + head + udp


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def offered(frame: bytes, transaction: int) -> str:
    """The address that an Ethernet frame offers to `transaction`; empty for every other frame."""
    start = _ETHERNET + _IP + _UDP
    if len(frame) < start + _BOOTP.size + len(_COOKIE):
        return ""
    ports = struct.unpack_from("!HH", frame, _ETHERNET + _IP)
    bootp = _BOOTP.unpack_from(frame, start)
    options = frame[start + _BOOTP.size :]
    is_offer = options.startswith(_COOKIE) and b"\x35\x01\x02" in options
    if ports != (67, 68) or bootp[0] != 2 or bootp[4] != transaction or not is_offer:
        return ""
    return socket.inet_ntoa(bootp[8])


def _offers(transaction: int, address: str, frame: bytes) -> bool:
    return offered(frame, transaction) == address


def _query(name: str, number: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def answered(number: int, address: str, reply: bytes) -> bool:
    """Whether a DNS reply is the one to question `number`, and names `address` where there is one to name."""
    if len(reply) < 12 or struct.unpack_from("!H", reply)[0] != number or not reply[2] & 0x80:
        return False
    return not address or socket.inet_aton(address) in reply[12:]


def _awaits(sock: socket.socket, fits: Callable[[bytes], bool]) -> bool:
    end = time.monotonic() + _SECONDS
    with suppress(TimeoutError):
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            if fits(sock.recv(65536)):
                return True
    return False

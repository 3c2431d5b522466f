"""Gratuitous ARP by raw frames, so that neighbours learn at once where an address has moved to (NL-6).

A raw frame passes by the lease gate's ARP rules: call this only for a router whose gate is open.
"""

import socket
import struct

from nodeagent.nethelper.namespaces import Namespace

_ETHERNET, _ARP, _IPV4 = 1, 0x0806, 0x0800
_REQUEST, _REPLY = 1, 2
_BROADCAST = b"\xff" * 6


def announce(namespace: Namespace, device: str, mac: str, address: str) -> None:
    """Tell the segment of `device` that `address` is at `mac`: as request and as reply, since hosts believe either."""
    frames = gratuitous(mac, address)

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((device, _ARP))
            for frame in frames:
                raw.send(frame)

    namespace.inside(send)


def gratuitous(mac: str, address: str) -> tuple[bytes, bytes]:
    """The two frames: the request's target hardware address is empty, the reply's is everybody."""
    source, ip = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(address)
    request, reply = (
        _BROADCAST
        + source
        + struct.pack("!HHHBBH", _ARP, _ETHERNET, _IPV4, 6, 4, operation)
        + source
        + ip
        + target
        + ip
        for operation, target in ((_REQUEST, bytes(6)), (_REPLY, _BROADCAST))
    )
    return request, reply

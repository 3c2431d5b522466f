"""IPv4 addresses and the default route of a device, read before they are written."""

import errno
import ipaddress
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from nodeagent.nethelper import netlink
from nodeagent.nethelper.links import Link
from nodeagent.nethelper.netlink import Netlink, Write

_AF_INET = 2
_MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST = 254, 3, 0, 1


def of(kernel: Netlink, link: Link) -> set[tuple[str, int]]:
    """(address, prefix length) of each IPv4 address of a device."""
    request = ifaddrmsg()
    request["family"] = _AF_INET
    request["index"] = link.index
    found = kernel.dump(request, netlink.GETADDR, link.name)
    return {(entry.get_attr("IFA_LOCAL"), entry["prefixlen"]) for entry in found if entry["index"] == link.index}


def networks_of(kernel: Netlink, link: Link) -> set[str]:
    """The networks, as CIDR, that a device is directly attached to."""
    return {str(ipaddress.IPv4Interface(f"{address}/{length}").network) for address, length in of(kernel, link)}


def settle(kernel: Netlink, link: Link, address: str, length: int) -> bool:
    """Make this the only address of the device; whether it had to be changed."""
    present, wanted = of(kernel, link), {(address, length)}
    gone = [
        Write(_message(link, *each), netlink.DELADDR, 0, each[0], accept=(errno.EADDRNOTAVAIL,))
        for each in sorted(present - wanted)
    ]
    flags = netlink.CREATE | netlink.EXCLUSIVE
    new = [
        Write(_message(link, *each), netlink.NEWADDR, flags, each[0], accept=(errno.EEXIST,))
        for each in wanted - present
    ]
    kernel.write([*gone, *new])
    return bool(gone or new)


def settle_default_route(kernel: Netlink, link: Link, gateway: str) -> bool:
    """Make `gateway` on this device the default route; whether it had to be changed."""
    request = rtmsg()
    request["family"] = _AF_INET
    request["table"] = _MAIN_TABLE
    for route in kernel.dump(request, netlink.GETROUTE, "default route"):
        is_default = route["dst_len"] == 0 and route["table"] == _MAIN_TABLE
        if is_default and (route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF")) == (gateway, link.index):
            return False
    route = rtmsg()
    route["family"] = _AF_INET
    route["table"], route["proto"], route["scope"], route["type"] = _MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST
    route["attrs"] = [("RTA_GATEWAY", gateway), ("RTA_OIF", link.index)]
    kernel.write([Write(route, netlink.NEWROUTE, netlink.CREATE | netlink.REPLACE, f"default route by {gateway}")])
    return True


def _message(link: Link, address: str, length: int) -> Any:
    message = ifaddrmsg()
    message["family"] = _AF_INET
    message["index"] = link.index
    message["prefixlen"] = length
    message["attrs"] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
    return message

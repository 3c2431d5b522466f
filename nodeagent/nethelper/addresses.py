"""IPv4 addresses, routes and proxied addresses of a device, read before they are written."""

import errno
import ipaddress
from collections.abc import Set
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from nodeagent.nethelper import netlink
from nodeagent.nethelper.links import Link
from nodeagent.nethelper.netlink import Netlink, Write

_AF_INET = 2
_MAIN_TABLE, _BOOT, _STATIC, _UNIVERSE, _LINK, _UNICAST = 254, 3, 4, 0, 253, 1
_PROXY, _PERMANENT = 0x08, 0x80


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
    for route in _main_table(kernel, "default route"):
        if route["dst_len"] == 0 and (route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF")) == (
            gateway,
            link.index,
        ):
            return False
    route = rtmsg()
    route["family"] = _AF_INET
    route["table"], route["proto"], route["scope"], route["type"] = _MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST
    route["attrs"] = [("RTA_GATEWAY", gateway), ("RTA_OIF", link.index)]
    kernel.write([Write(route, netlink.NEWROUTE, netlink.CREATE | netlink.REPLACE, f"default route by {gateway}")])
    return True


def host_routes(kernel: Netlink, link: Link) -> set[str]:
    """The single addresses that are routed to the device as they are."""
    single = [route for route in _main_table(kernel, link.name) if route["dst_len"] == 32]
    return {route.get_attr("RTA_DST") for route in single if route.get_attr("RTA_OIF") == link.index}


def routes(kernel: Netlink) -> list[tuple[str, int, str, int]]:
    """(destination, prefix length, gateway, device) of each route in the main table, in a fixed order."""
    return sorted(
        (
            route.get_attr("RTA_DST") or "",
            route["dst_len"],
            route.get_attr("RTA_GATEWAY") or "",
            route.get_attr("RTA_OIF") or 0,
        )
        for route in _main_table(kernel, "routes")
    )


def _main_table(kernel: Netlink, what: str) -> list[Any]:
    request = rtmsg()
    request["family"] = _AF_INET
    request["table"] = _MAIN_TABLE
    return [route for route in kernel.dump(request, netlink.GETROUTE, what) if route["table"] == _MAIN_TABLE]


def settle_host_routes(kernel: Netlink, link: Link, wanted: Set[str]) -> bool:
    """Make exactly these single addresses be routed to the device; whether anything had to be changed (FL-5)."""
    present = host_routes(kernel, link)
    gone = [
        Write(_route(link, each), netlink.DELROUTE, 0, f"route to {each}", accept=(errno.ESRCH,))
        for each in sorted(present - wanted)
    ]
    flags = netlink.CREATE | netlink.REPLACE
    new = [Write(_route(link, each), netlink.NEWROUTE, flags, f"route to {each}") for each in sorted(wanted - present)]
    kernel.write([*gone, *new])
    return bool(gone or new)


def proxied(kernel: Netlink, link: Link) -> set[str]:
    """The addresses that the device answers ARP for on others' behalf."""
    request = ndmsg()
    request["family"] = _AF_INET
    request["flags"] = _PROXY
    found = kernel.dump(request, netlink.GETNEIGH, f"proxies of {link.name}")
    return {entry.get_attr("NDA_DST") for entry in found if entry["ifindex"] == link.index}


def settle_proxies(kernel: Netlink, link: Link, wanted: Set[str]) -> set[str]:
    """Make the device answer ARP for exactly these addresses beside its own; those that are new.

    A proxied address that goes takes its route with it, so that is no change of its own.
    """
    present = proxied(kernel, link)
    gone = [
        Write(_proxy(link, each), netlink.DELNEIGH, 0, f"proxy for {each}", accept=(errno.ENOENT,))
        for each in sorted(present - wanted)
    ]
    new = [
        Write(_proxy(link, each), netlink.NEWNEIGH, netlink.CREATE, f"proxy for {each}")
        for each in sorted(wanted - present)
    ]
    kernel.write([*gone, *new])
    return set(wanted - present)


def _route(link: Link, address: str) -> Any:
    route = rtmsg()
    route["family"], route["dst_len"] = _AF_INET, 32
    route["table"], route["proto"], route["scope"], route["type"] = _MAIN_TABLE, _STATIC, _LINK, _UNICAST
    route["attrs"] = [("RTA_DST", address), ("RTA_OIF", link.index)]
    return route


def _proxy(link: Link, address: str) -> Any:
    entry = ndmsg()
    entry["family"], entry["ifindex"], entry["state"], entry["flags"] = _AF_INET, link.index, _PERMANENT, _PROXY
    entry["attrs"] = [("NDA_DST", address)]
    return entry


def _message(link: Link, address: str, length: int) -> Any:
    message = ifaddrmsg()
    message["family"] = _AF_INET
    message["index"] = link.index
    message["prefixlen"] = length
    message["attrs"] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
    return message

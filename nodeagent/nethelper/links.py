"""Links: a network's bridge and VXLAN device in the node's own namespace, and what routers need of links as well.

Every function reads before it writes and says whether it wrote, so what is as it should be costs no change. A link is
looked up by name, never by listing all of them.
"""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from nodeagent.nethelper import names, netlink
from nodeagent.nethelper.namespaces import Namespace
from nodeagent.nethelper.netlink import Netlink, Write
from nodeagent.nethelper.protocol import NetworkError
from nodeagent.specs import NetworkSpec

VXLAN_PORT = 4789
VXLAN_OVERHEAD = 50
_UP = 1
_AF_BRIDGE = 7
_FLOOD = "00:00:00:00:00:00"
_NTF_SELF, _NUD_STATIC = 0x02, 0xC0
_BRIDGE_OPTIONS = {"IFLA_BR_STP_STATE": 0, "IFLA_BR_FORWARD_DELAY": 0, "IFLA_BR_MCAST_SNOOPING": 0}


@dataclass(frozen=True)
class Link:
    """A link as the kernel shows it; `options` are those of its kind."""

    index: int
    name: str
    kind: str
    mtu: int
    alias: str
    mac: str
    master: int
    up: bool
    options: Mapping[str, Any] = field(default_factory=dict)


def find(kernel: Netlink, name: str) -> Link | None:
    request = ifinfmsg()
    request["attrs"] = [("IFLA_IFNAME", name)]
    message = kernel.get(request, netlink.GETLINK, name, missing=(errno.ENODEV,))
    return None if message is None else _link(message)


def need(kernel: Netlink, name: str) -> Link:
    found = find(kernel, name)
    if found is None:
        raise NetworkError(errno.ENODEV, name, "no such device")
    return found


def all_of_kind(kernel: Netlink, kind: str) -> list[Link]:
    """Every link of one kind: for an inventory, which has to see the unknown ones too."""
    request = ifinfmsg()
    request["attrs"] = [("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind)]})]
    return [link for link in map(_link, kernel.dump(request, netlink.GETLINK, kind)) if link.kind == kind]


def _link(message: Any) -> Link:
    described = message.get_attr("IFLA_LINKINFO")
    options = described.get_attr("IFLA_INFO_DATA") if described else None
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(described.get_attr("IFLA_INFO_KIND") if described else "") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        up=bool(message["flags"] & _UP),
        options=dict(options["attrs"]) if options else {},
    )


def create(kernel: Netlink, name: str, kind: str, options: Mapping[str, Any], mtu: int) -> None:
    """Make a link that is down, everything about it folded into the one message (EEXIST: another made it, as well)."""
    request = ifinfmsg()
    kind_and_options = [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": list(options.items())})]
    request["attrs"] = [("IFLA_IFNAME", name), ("IFLA_MTU", mtu), ("IFLA_LINKINFO", {"attrs": kind_and_options})]
    flags = netlink.CREATE | netlink.EXCLUSIVE
    kernel.write([Write(request, netlink.NEWLINK, flags, name, accept=(errno.EEXIST,))])


def create_pair(node: Netlink, port: str, peer: str, namespace: int, mtu: int) -> None:
    """Make a veth pair: `port` here, `peer` in the namespace of that descriptor."""
    other = {"attrs": [("IFLA_IFNAME", peer), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", namespace)]}
    create(node, port, "veth", {"VETH_INFO_PEER": other}, mtu)


def settle(kernel: Netlink, name: str, mtu: int, master: int = 0, alias: str = "") -> bool:
    """Make an existing link up, with this MTU, master and alias; whether anything was to be changed."""
    link = need(kernel, name)
    wanted: list[tuple[str, Any]] = []
    if link.mtu != mtu:
        wanted.append(("IFLA_MTU", mtu))
    if link.master != master:
        wanted.append(("IFLA_MASTER", master))
    if link.alias != alias:
        wanted.append(("IFLA_IFALIAS", alias))
    if not wanted and link.up:
        return False
    request = ifinfmsg()
    request["index"] = link.index
    request["flags"] = request["change"] = _UP
    request["attrs"] = wanted
    kernel.write([Write(request, netlink.NEWLINK, 0, name)])
    return True


def delete(kernel: Netlink, name: str) -> bool:
    link = find(kernel, name)
    if link is None:
        return False
    request = ifinfmsg()
    request["index"] = link.index
    kernel.write([Write(request, netlink.DELLINK, 0, name, accept=(errno.ENODEV,))])
    return True


def without_ipv6(namespace: Namespace, name: str) -> bool:
    """A bridge and its ports carry guests' frames and have no address of their own, so that no guest can talk to one."""
    return namespace.write_setting(f"ipv6/conf/{name}/disable_ipv6", "1")


def network_mtu(kernel: Netlink, mesh_device: str) -> int:
    """The MTU of every network on this node: what the underlay device leaves (HP-1)."""
    return need(kernel, mesh_device).mtu - VXLAN_OVERHEAD


def ensure_network(node: Namespace, spec: NetworkSpec, mesh_device: str, mesh_address: str) -> str:
    """Bridge, VXLAN device and flood list of one network: created, repaired or unchanged."""
    kernel = node.netlink
    underlay = need(kernel, mesh_device)
    mtu = underlay.mtu - VXLAN_OVERHEAD
    created, repaired = _ensure_bridge(node, spec, mtu)
    options = {
        "IFLA_VXLAN_ID": spec.vni,
        "IFLA_VXLAN_LINK": underlay.index,
        "IFLA_VXLAN_LOCAL": mesh_address,
        "IFLA_VXLAN_PORT": VXLAN_PORT,
        "IFLA_VXLAN_LEARNING": 1,
    }
    bridge = need(kernel, names.bridge(spec.vni))
    repaired |= _ensure_vxlan(node, spec, options, mtu, bridge.index)
    repaired |= _settle_flood_list(kernel, spec, mesh_address)
    if created:
        return "created"
    return "repaired" if repaired else "unchanged"


def _ensure_bridge(node: Namespace, spec: NetworkSpec, mtu: int) -> tuple[bool, bool]:
    name = names.bridge(spec.vni)
    found = find(node.netlink, name)
    if found is not None:
        check_owner(found, spec.network)
    else:
        # Made one short of its MTU: only a value that changes counts for the kernel as chosen, and only a chosen one
        # stays when a port with a lower one joins (HP-1).
        create(node.netlink, name, "bridge", _BRIDGE_OPTIONS, mtu - 1)
    repaired = without_ipv6(node, name)
    repaired |= found is not None and _settle_options(node.netlink, found, _BRIDGE_OPTIONS)
    repaired |= settle(node.netlink, name, mtu, alias=spec.network)
    return found is None, repaired


def check_owner(link: Link, network: str) -> None:
    """An alias that is missing is one that was to be written when the maker died; the device is ours by its name."""
    if link.alias not in ("", network):
        raise NetworkError(errno.EEXIST, link.name, f"belongs to network {link.alias}")


def _ports(kernel: Netlink, bridge: Link) -> list[Link]:
    request = ifinfmsg()
    request["attrs"] = [("IFLA_MASTER", bridge.index)]
    ports = map(_link, kernel.dump(request, netlink.GETLINK, bridge.name))
    return [port for port in ports if port.master == bridge.index]


def _settle_options(kernel: Netlink, link: Link, options: Mapping[str, Any]) -> bool:
    """Make the options of a link read so, one message each in the order given: with STP on, no delay may be 0."""
    changes = []
    for option in options.items():
        if link.options.get(option[0]) != option[1]:
            request = ifinfmsg()
            request["index"] = link.index
            described = [("IFLA_INFO_KIND", link.kind), ("IFLA_INFO_DATA", {"attrs": [option]})]
            request["attrs"] = [("IFLA_LINKINFO", {"attrs": described})]
            changes.append(Write(request, netlink.NEWLINK, 0, link.name))
    kernel.write(changes)
    return bool(changes)


def _ensure_vxlan(node: Namespace, spec: NetworkSpec, options: Mapping[str, Any], mtu: int, bridge: int) -> bool:
    name = names.vxlan(spec.vni)
    found = find(node.netlink, name)
    repaired = found is None
    if found is not None and any(found.options.get(key) != value for key, value in options.items()):
        # The kernel changes none of these on a living device.
        delete(node.netlink, name)
        found, repaired = None, True
    if found is None:
        create(node.netlink, name, "vxlan", options, mtu)
    repaired |= without_ipv6(node, name)
    repaired |= settle(node.netlink, name, mtu, master=bridge, alias=spec.network)
    return repaired


def flood_list(kernel: Netlink, vni: int) -> set[str]:
    """The mesh addresses that the network's frames to unknown and broadcast addresses are copied to."""
    name = names.vxlan(vni)
    device = need(kernel, name)
    request = ndmsg()
    request["family"] = _AF_BRIDGE
    request["attrs"] = [("NDA_IFINDEX", device.index)]
    entries = kernel.dump(request, netlink.GETNEIGH, name)
    flooded = [
        entry for entry in entries if entry["ifindex"] == device.index and entry.get_attr("NDA_LLADDR") == _FLOOD
    ]
    return {entry.get_attr("NDA_DST") for entry in flooded} - {None}


def _settle_flood_list(kernel: Netlink, spec: NetworkSpec, mesh_address: str) -> bool:
    # A node that floods to itself sees every broadcast twice (HP-3).
    wanted = set(spec.peers) - {mesh_address}
    present = flood_list(kernel, spec.vni)
    index = need(kernel, names.vxlan(spec.vni)).index
    absent = _flood_entries(index, present - wanted, netlink.DELNEIGH, 0, errno.ENOENT)
    new = _flood_entries(index, wanted - present, netlink.NEWNEIGH, netlink.CREATE | netlink.APPEND, errno.EEXIST)
    changes = [*absent, *new]
    kernel.write(changes)
    return bool(changes)


def _flood_entries(index: int, peers: Iterable[str], kind: int, flags: int, accept: int) -> Iterable[Write]:
    for peer in sorted(peers):
        entry = ndmsg()
        entry["family"] = _AF_BRIDGE
        entry["ifindex"] = index
        entry["state"] = _NUD_STATIC
        entry["flags"] = _NTF_SELF
        entry["attrs"] = [("NDA_LLADDR", _FLOOD), ("NDA_DST", peer)]
        yield Write(entry, kind, flags, f"flood entry {peer}", accept=(accept,))


def remove_network(node: Namespace, network: str, vni: int) -> str:
    """Take bridge and VXLAN device away; the VXLAN device last, because inventories find a network by it (SR-1).

    Refused with EBUSY while anything but our own devices is plugged in: a guest may still be on it (SR-3).
    """
    bridge = find(node.netlink, names.bridge(vni))
    if bridge is not None:
        check_owner(bridge, network)
        foreign = [port.name for port in _ports(node.netlink, bridge) if port.name != names.vxlan(vni)]
        if foreign:
            raise NetworkError(errno.EBUSY, bridge.name, f"in use by {', '.join(foreign)}")
    removed = delete(node.netlink, names.bridge(vni))
    removed |= delete(node.netlink, names.vxlan(vni))
    return "removed" if removed else "unchanged"

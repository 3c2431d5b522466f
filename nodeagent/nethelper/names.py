"""The name of every device, namespace and directory that belongs to a network, each from one function (SR-1, FL-9).

Both the path that adds and the path that removes ask here, and so does the driver that plugs a guest into a bridge.
Imports nothing that touches the machine, so any module of the agent may use it.
"""

import re

BRIDGE = re.compile(r"br-vxlan-([0-9a-f]{6})\Z")
VXLAN = re.compile(r"vxlan-([0-9a-f]{6})\Z")
ROUTER = re.compile(r"sfr-([0-9a-f]{6})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")
BRIDGE_PREFIX = "br-vxlan-"


def bridge(vni: int) -> str:
    return f"{BRIDGE_PREFIX}{vni:06x}"


def vxlan(vni: int) -> str:
    return f"vxlan-{vni:06x}"


def inside_port(vni: int) -> str:
    """The router's plug in the network's bridge; its peer in the router namespace is `inside`."""
    return f"veth-{vni:06x}-o"


def inside(vni: int) -> str:
    return f"veth-{vni:06x}-i"


def outside_port(vni: int) -> str:
    """The router's plug in the egress bridge; its peer in the router namespace is `outside`."""
    return f"egr-{vni:06x}-o"


def outside(vni: int) -> str:
    return f"egr-{vni:06x}-i"


def router(network: str, vni: int) -> str:
    """The router namespace; carries both identities, so that an inventory needs nothing else to name its owner."""
    return f"sfr-{vni:06x}-{network}"

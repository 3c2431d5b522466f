"""The lab's cables: an underlay that joins nodes and control plane, and an outside network, each in its own namespace.

Nothing of it is in the machine's own namespace but two `unreachable` routes, so that no address of the lab that somebody
uses there can leave the machine.
"""

import json
import subprocess
import time

from lab.layout import CONTROL_ADDRESS, EGRESS_BRIDGE, MTU, OUTSIDE, OUTSIDE_ADDRESS, UNDERLAY, Layout, NodeLayout

WAIT_SECONDS = 20.0


def ip(*arguments: str, namespace: str = "", check: bool = True) -> str:
    command = ["ip", *(("-n", namespace) if namespace else ()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def names() -> set[str]:
    """All named namespaces of the machine."""
    return {entry["name"] for entry in json.loads(ip("-j", "netns", "list") or "[]")}


def bring_up(lab: Layout) -> bool:
    """Make the namespaces, their bridges and the control plane's cable; whether anything was missing."""
    present = names()
    missing = [name for name in lab.namespaces if name not in present]
    for name in missing:
        ip("netns", "add", name)
        ip("link", "set", "lo", "up", namespace=name)
    if lab.underlay in missing:
        _bridge(lab.underlay, "mesh", MTU)
    if lab.outside in missing:
        _bridge(lab.outside, "out", 1500)
        ip("addr", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "out", namespace=lab.outside)
    if not has_link(lab.control, "eth0"):
        _plug(lab.underlay, "mesh", "control", ("eth0", lab.control), MTU)
        ip("addr", "add", f"{CONTROL_ADDRESS}/24", "dev", "eth0", namespace=lab.control)
        ip("link", "set", "eth0", "up", namespace=lab.control)
    for block in (UNDERLAY, OUTSIDE):
        ip("route", "replace", "unreachable", block, "metric", str(lab.metric))
    return bool(missing)


def plug_in(node: NodeLayout, pid: int) -> None:
    """Two cables to a node whose first process is `pid`; it waits for them (`configure_node`)."""
    _plug(node.lab.underlay, "mesh", node.name, ("eth0", str(pid)), MTU)
    _plug(node.lab.outside, "out", node.name, ("eth1", str(pid)), 1500)


def configure_node(node: NodeLayout) -> None:
    """Inside a node: addresses and the egress bridge, as soon as the cables are there."""
    ip("link", "set", "lo", "up")
    end = time.monotonic() + WAIT_SECONDS
    while not (has_link("", "eth0") and has_link("", "eth1")):
        if time.monotonic() > end:
            raise RuntimeError("no cable was plugged in")
        time.sleep(0.02)
    ip("addr", "add", f"{node.address}/24", "dev", "eth0")
    ip("link", "set", "eth0", "up")
    ip("link", "add", EGRESS_BRIDGE, "type", "bridge", "forward_delay", "0")
    ip("link", "set", "eth1", "master", EGRESS_BRIDGE, "up")
    ip("link", "set", EGRESS_BRIDGE, "up")


def tear_down(lab: Layout) -> None:
    present = names()
    for name in lab.namespaces:
        if name in present:
            ip("netns", "del", name)
    for block in (UNDERLAY, OUTSIDE):
        ip("route", "del", "unreachable", block, "metric", str(lab.metric), check=False)


def has_link(namespace: str, device: str) -> bool:
    return bool(ip("-o", "link", "show", device, namespace=namespace, check=False))


def _bridge(namespace: str, name: str, mtu: int) -> None:
    ip("link", "add", name, "mtu", str(mtu), "type", "bridge", "forward_delay", "0", namespace=namespace)
    ip("link", "set", name, "up", namespace=namespace)


def _plug(namespace: str, bridge: str, port: str, end: tuple[str, str], mtu: int) -> None:
    """A cable from a bridge's new port to device and namespace `end`; what a node that died has left is replaced."""
    device, place = end
    ip("link", "del", port, namespace=namespace, check=False)
    peer = ("peer", "name", device, "mtu", str(mtu), "netns", place)
    ip("link", "add", port, "mtu", str(mtu), "type", "veth", *peer, namespace=namespace)
    ip("link", "set", port, "master", bridge, "up", namespace=namespace)

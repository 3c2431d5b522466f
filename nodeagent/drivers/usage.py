"""What guests and networks have used, from what libvirt and the kernel count for them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nodeagent.drivers.domains import Domains
from nodeagent.drivers.layout import Layout
from nodeagent.drivers.net import Net
from nodeagent.host import Usage
from nodeagent.nethelper import names

TABLE = Path("/proc/net/dev")
_RECEIVED, _SENT = 0, 8
"""Columns of bytes in the kernel's table of devices (proc(5))."""


class UsageMeter:
    """Counters since a guest was started, or a network came to this node: whoever wants a rate takes two looks."""

    def __init__(self, layout: Layout, domains: Domains, net: Net) -> None:
        self._layout, self._domains, self._net = layout, domains, net

    def read(self) -> Usage:
        own = set(self._layout.known_instances())
        counted = self._domains.statistics()
        return Usage(
            instances={instance: _guest(told) for instance, told in counted.items() if instance in own},
            networks=dict(_networks(self._net.inventory().networks)),
        )


def _guest(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of libvirt's `group.index.figure`, where a figure that the hypervisor cannot give is missing."""
    return {
        "cpu_seconds": round(told.get("cpu.time", 0) / 1e9, 2),
        "memory_mb": told.get("balloon.rss", 0) // 1024,
        "disks": {
            told[f"block.{index}.name"]: {
                "read_bytes": told.get(f"block.{index}.rd.bytes", 0),
                "written_bytes": told.get(f"block.{index}.wr.bytes", 0),
                "reads": told.get(f"block.{index}.rd.reqs", 0),
                "writes": told.get(f"block.{index}.wr.reqs", 0),
            }
            for index in range(told.get("block.count", 0))
        },
        "interfaces": [
            {
                "received_bytes": told.get(f"net.{index}.rx.bytes", 0),
                "sent_bytes": told.get(f"net.{index}.tx.bytes", 0),
            }
            for index in range(told.get("net.count", 0))
        ],
    }


def _networks(held: Mapping[str, int]) -> Iterator[tuple[str, dict[str, dict[str, int]]]]:
    devices = _devices()
    for network, vni in held.items():
        used = {}
        if mesh := devices.get(names.vxlan(vni)):
            used["mesh"] = {"received_bytes": mesh[_RECEIVED], "sent_bytes": mesh[_SENT]}
        if port := devices.get(names.outside_port(vni)):  # the router's end of it receives what this one sends
            used["outside"] = {"received_bytes": port[_SENT], "sent_bytes": port[_RECEIVED]}
        yield network, used


def _devices() -> dict[str, list[int]]:
    lines = (line.partition(":") for line in TABLE.read_text().splitlines()[2:])
    return {name.strip(): [int(figure) for figure in figures.split()] for name, _, figures in lines}

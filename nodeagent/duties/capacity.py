"""What the node offers and what it is: claims that the control plane takes up to the ceiling an operator confirmed (SE-6)."""

import platform

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 60.0
SMALL_MTU = 1500
"""An underlay with no more leaves guests less than the 1500 bytes that most of the world sends (HP-5)."""


def run(around: Surroundings) -> None:
    offered = around.host.capacity()
    mtu = offered.extra.get("mesh_mtu")
    if mtu is not None and mtu <= SMALL_MTU and mtu != around.findings.facts.get("mesh_mtu"):
        around.notice("status", "the underlay's MTU leaves guests less than 1500 bytes", mtu=mtu)
    around.findings.facts.update(
        {
            "capacity": {"cpus": offered.cpus, "memory_mb": offered.memory_mb, "disk_gb": offered.disk_gb},
            "mesh_address": around.config.mesh_address,
            "byte_port": around.config.byte_port,
            "kernel": platform.release(),
            **offered.extra,
        }
    )


DUTY = Duty(name="capacity", period=PERIOD_SECONDS, run=run)

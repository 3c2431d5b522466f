"""What the node offers and what it is: claims that the control plane takes up to the ceiling an operator confirmed (SE-6)."""

import platform

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 60.0


def run(around: Surroundings) -> None:
    offered = around.host.capacity()
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

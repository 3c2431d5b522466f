"""Frees what has rested long enough: pool values in quarantine, leases that expired, addresses in their halo (GA-7, IP-4).

How full the pools are then is a metric of the process that runs it (GA-8).
"""

from sfweb import metrics
from sfweb.domain import allocator, ipam
from sfweb.domain.transactions import durable


def run() -> dict[str, int]:
    freed = {"values": durable(allocator.reap)(), "addresses": durable(ipam.reap_halo)()}
    for name, (used, size) in allocator.usage().items():
        metrics.POOL_USED.labels(name).set(used)
        metrics.POOL_SIZE.labels(name).set(size)
    return freed

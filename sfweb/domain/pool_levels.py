"""How full the things are that run out: outside addresses, network numbers, the nodes' room."""

from collections.abc import Iterator

from django.db.models import Sum

from sfweb.domain import allocator, ipam
from sfweb.models import FLOATING, Address, Network, NodeCapacity, PoolAllocation
from sfweb.models.state import State

Level = tuple[str, int, int]
"""Name, used, size."""


def levels() -> Iterator[Level]:
    outside = Network.objects.filter(pk=FLOATING).first()
    if outside is not None:
        taken = Address.objects.filter(network=outside, released_at=None).count()
        yield "outside addresses", taken, ipam.block(outside).num_addresses
    yield "network numbers", PoolAllocation.objects.filter(pool_name="vni").count(), allocator.pool("vni").size
    living = NodeCapacity.objects.filter(node__state=State.CREATED, node__cordoned=False)
    for what in ("cpus", "memory_mb", "disk_gb"):
        sums = living.aggregate(used=Sum(f"used_{what}"), size=Sum(f"limit_{what}"))
        if sums["size"]:
            yield f"{what} of all nodes", sums["used"], sums["size"]

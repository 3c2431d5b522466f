"""Frees what has rested long enough: pool values in quarantine, leases that expired, addresses in their halo (GA-7, IP-4)."""

from sfweb.domain import allocator, ipam
from sfweb.domain.transactions import durable


def run() -> dict[str, int]:
    return {"values": durable(allocator.reap)(), "addresses": durable(ipam.reap_halo)()}

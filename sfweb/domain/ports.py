"""Console and VDI ports of instances: one pool a node, lowest first, and rest for one that turned out to be taken (GA-9)."""

import uuid
from collections.abc import Mapping

from sfweb.domain import allocator
from sfweb.models import Instance


def pool_of(node: uuid.UUID) -> str:
    return f"port/{node}"


def allocate(placed: Mapping[uuid.UUID, uuid.UUID]) -> dict[uuid.UUID, tuple[int, int, int]]:
    """{instance: (console port, VDI port, vsock CID)} for new instances, given as {instance: its node}."""
    numbers: dict[uuid.UUID, list[int]] = {instance: [] for instance in placed}
    for node in sorted(set(placed.values())):
        owners = [instance for instance, where in placed.items() if where == node for _ in ("console", "vdi")]
        for owner, port in zip(owners, allocator.allocate_many(pool_of(node), "instance", owners), strict=True):
            numbers[owner].append(port)
    cids = allocator.allocate_many("vsock-cid", "instance", list(placed))
    return {one: (console, vdi, cid) for (one, (console, vdi)), cid in zip(numbers.items(), cids, strict=True)}


def replace_taken(instance: Instance, port: int) -> bool:
    """A stranger on the host has `port`: let it rest and take another. False when the instance does not have that port."""
    column = {instance.console_port: "console_port", instance.vdi_port: "vdi_port"}.get(port)
    if column is None or instance.node_id is None:
        return False
    fresh = allocator.allocate(pool_of(instance.node_id), "instance", instance.pk)
    allocator.release(pool_of(instance.node_id), port)
    Instance.objects.filter(pk=instance.pk).update(**{column: fresh})
    return True

"""Console and VDI ports of instances: one pool a node, lowest first, and rest for one that turned out to be taken (GA-9)."""

import uuid

from sfweb.domain import allocator
from sfweb.models import Instance


def pool_of(node: uuid.UUID) -> str:
    return f"port/{node}"


def allocate(node: uuid.UUID, instance: uuid.UUID) -> tuple[int, int, int]:
    """(console port, VDI port, vsock CID) for a new instance on the node."""
    console = allocator.allocate(pool_of(node), "instance", instance)
    vdi = allocator.allocate(pool_of(node), "instance", instance)
    return console, vdi, allocator.allocate("vsock-cid", "instance", instance)


def replace_taken(instance: Instance, port: int) -> bool:
    """A stranger on the host has `port`: let it rest and take another. False when the instance does not have that port."""
    column = {instance.console_port: "console_port", instance.vdi_port: "vdi_port"}.get(port)
    if column is None or instance.node_id is None:
        return False
    fresh = allocator.allocate(pool_of(instance.node_id), "instance", instance.pk)
    allocator.release(pool_of(instance.node_id), port)
    Instance.objects.filter(pk=instance.pk).update(**{column: fresh})
    return True

"""Console and VDI ports of instances: one pool a node, lowest first, and rest for one that turned out to be taken (GA-9)."""

import uuid
from collections.abc import Mapping

from sfweb.domain import allocator
from sfweb.models import Instance


def pool_of(node: uuid.UUID) -> str:
    return f"port/{node}"


def allocate(placed: Mapping[uuid.UUID, uuid.UUID]) -> dict[uuid.UUID, tuple[int, int, int]]:
    """{instance: (console port, VDI port, vsock CID)} for new instances, given as {instance: its node}."""
    cids = "vsock-cid"
    owners = {cids: list(placed)}
    for node in sorted(set(placed.values())):
        there = [instance for instance, where in placed.items() if where == node]
        owners[pool_of(node)] = [instance for instance in there for _ in ("console", "vdi")]
    values = {name: iter(each) for name, each in allocator.allocate_many("instance", owners).items()}
    ports = {name: values[pool_of(node)] for name, node in placed.items()}
    return {name: (next(ports[name]), next(ports[name]), next(values[cids])) for name in placed}


def replace_taken(instance: Instance, port: int) -> bool:
    """A stranger on the host has `port`: let it rest and take another. False when the instance does not have that port."""
    column = {instance.console_port: "console_port", instance.vdi_port: "vdi_port"}.get(port)
    if column is None or instance.node_id is None:
        return False
    fresh = allocator.allocate(pool_of(instance.node_id), "instance", instance.pk)
    allocator.release(pool_of(instance.node_id), port)
    Instance.objects.filter(pk=instance.pk).update(**{column: fresh})
    return True

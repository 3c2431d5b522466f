"""Rows that tests start from."""

from sfweb.domain import ipam
from sfweb.domain.callers import Caller
from sfweb.domain.specs import NewDisk, NewInstance, NewInterface, NewNetwork
from sfweb.models import FLOATING, Namespace, Network
from sfweb.models.state import State


def make_namespace(name: str = "tenant") -> Caller:
    """A namespace and a caller of it; `system` and the floating network are made with the first."""
    if not Namespace.objects.filter(name="system").exists():
        system = Namespace.objects.create(name="system")
        outside = Network.objects.create(
            uuid=FLOATING, namespace=system, name="floating", netblock="198.19.0.0/24", state=State.CREATED
        )
        ipam.open_block(outside)
    row, _ = Namespace.objects.get_or_create(name=name)
    return Caller(namespace=name, namespace_uuid=row.pk, key_name="test", request_id="req-1")


def new_network(
    name: str = "net", namespace: str = "tenant", netblock: str = "10.0.0.0/24", **more: bool
) -> NewNetwork:
    return NewNetwork(name=name, namespace=namespace, netblock=netblock, **more)


def new_instance(name: str = "guest", namespace: str = "tenant", *networks: str, **more: object) -> NewInstance:
    """One CPU, 256 MiB, one disk from a URL, one interface on each of `networks`."""
    values: dict[str, object] = {
        "cpus": 1,
        "memory_mb": 256,
        "disks": (NewDisk(size_gb=1, base="https://images.example.org/tiny.qcow2"),),
        "interfaces": tuple(NewInterface(network=network) for network in networks),
    }
    return NewInstance(name=name, namespace=namespace, **{**values, **more})

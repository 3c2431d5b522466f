"""Ask a network's router to send echoes to an address of the network. It observes only, so nothing waits for it (HP-6).

What was printed is the outcome of its one step, and is kept as long as the operation is.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sftasks import engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, PlannedStep, Stage, Wish
from sfweb.domain import carriers, ipam
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Invalid, NotReady
from sfweb.models import Network, Operation
from sfweb.models.state import State


@durable
def request(caller: Caller, network: Network, address: str) -> Accepted:
    """Raises Invalid for what is no address of the network, NotReady while nothing serves the network."""
    try:
        wanted = ipaddress.IPv4Address(address)
    except ValueError:
        raise Invalid(f"address: {address} is not an IPv4 address") from None
    if wanted not in ipam.block(network):
        raise Invalid(f"address: {address} is not inside {network.netblock}")
    carrier = carriers.carrier_of(network.pk)
    state = Network.objects.values_list("state", flat=True).get(pk=network.pk)
    if state != State.CREATED:
        raise NotReady(f"network {network.name} is {state}")
    if carrier is None:
        raise NotReady(f"network {network.name} has no carrier to ask from")
    operation = engine.submit(
        Wish(
            kind="network_ping",
            object_key=f"ping:{network.pk}:{wanted}",
            targets=[("network", network.pk)],
            params={"network": str(network.pk), "node": str(carrier), "address": str(wanted)},
            caller=caller,
            namespace=network.namespace_id,
        )
    )
    return Accepted(network, operation)


def printed(operation: Operation) -> dict[str, Any]:
    """The lines of a ping that has succeeded."""
    result = outcomes.facts(operation, "ping_address") or {}
    return {"stdout": result.get("stdout", []), "stderr": result.get("stderr", [])}


def stages(operation: Operation) -> Sequence[Stage]:
    facts = operation.params
    step = PlannedStep(
        node=UUID(facts["node"]),
        action="ping_address",
        object_type="router",
        object_uuid=UUID(facts["network"]),
        arguments={"address": facts["address"]},
    )
    return [[step]]


def finish(operation: Operation, ended: Ended) -> None:
    """Nothing to write: the answer stands in the step."""


OPERATION = Kind(name="network_ping", stages=stages, finish=finish, coalesces=True, observational=True, priority=10)

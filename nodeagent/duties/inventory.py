"""All that the node holds, with the journal position at which the look began (EN-13)."""

import uuid

from nodeagent.reporter import Duty, Surroundings
from nodeagent.wire import Inventory, SeenObject

PERIOD_SECONDS = 60.0


def run(around: Surroundings) -> None:
    """Enumerate everything; a part that cannot be read makes the inventory incomplete, and then it proves no absence."""
    seq = around.journal.seq
    found = around.host.inventory()
    generations = around.journal.generations()
    objects = [
        SeenObject(
            object_type="instance",
            object_uuid=identity,
            power=power,
            generation=generations.get(f"instance:{identity}"),
        )
        for identity, power in found.instances.items()
    ]
    objects += [SeenObject(object_type="blob", object_uuid=identity) for identity in found.blobs]
    for identity, vni in found.networks.items():
        objects.append(SeenObject(object_type="network", object_uuid=identity, vni=vni))
    for identity, vni in found.routers.items():
        intact = identity not in found.damaged
        objects.append(SeenObject(object_type="router", object_uuid=identity, intact=intact, vni=vni))
    around.findings.inventory = Inventory(
        seq=seq, complete=not found.unreadable, objects=tuple(objects), uuid=str(uuid.uuid4())
    )
    for identity, what in found.damaged.items():
        around.notice("status", "router is damaged", "network", identity, what=what)
    if found.unreadable:
        around.notice("status", "inventory incomplete", parts=list(found.unreadable))


DUTY = Duty(name="inventory", period=PERIOD_SECONDS, run=run)

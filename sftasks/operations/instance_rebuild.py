"""Make an instance of a dead node again on another one: same uuid, addresses and MACs, disks from its newest snapshot.

What it had on the dead node since that snapshot is lost. Should that node ever come back, it takes away what it has of the
instance before anything else.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sftasks import attachment, captures, engine, moves, wishes
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain import claims, limits, node_life, pending, snapshots
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotReady
from sfweb.models import Blob, Disk, Instance, Operation, Wanted
from sfweb.models.state import State


@durable
def request(caller: Caller, instance: Instance, placed_on: str | None = None, blank: bool = False) -> Accepted:
    """`blank`: its disks are as they were first made, whatever snapshots there are.

    Raises Conflict unless its node was declared dead, and without a snapshot that can be had; NoCapacity.
    """
    limits.lock(instance.namespace_id)
    operation = engine.submit(instances.wish("instance_rebuild", instance, caller))
    known = Instance.objects.select_related("node").get(pk=instance.pk)
    _require_dead(known, operation)
    assert known.node is not None, "an instance of a dead node has a node"
    offer, asked = moves.find_place(known, placed_on, moves.still_holding(known.pk))
    claims.require_unpromised(known.namespace_id, asked.room)
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    _require_dead(row, operation)
    source = None if blank else snapshots.newest_to_be_had(row)
    former = _put_back(row, source.blobs) if source else {}
    dead = {"node": str(known.node.pk), "console_port": row.console_port, "vdi_port": row.vdi_port}
    taken = moves.claim(row, offer, asked, caller)
    moves.switch(row, offer.node, taken)
    node_life.expect(known.node.pk, "instance", row.pk, Wanted.ABSENT)
    snapshot = str(source.snapshot) if source else None
    engine.remember(operation, target=str(offer.node), dead=dead, former=former, snapshot=snapshot)
    engine.aim((operation, [("node", offer.node)]))
    engine.depend(operation, moves.bring(row, offer.node, moves.blobs_of(row), caller))
    return Accepted(row, operation)


def _require_dead(row: Instance, operation: Operation) -> None:
    pending.require_idle(row.pk, operation.pk)
    if row.node is None or row.node.state != State.DELETED:
        where = f"node {row.node.name} is {row.node.state}" if row.node else "it was never placed"
        raise Conflict(f"only what was on a dead node is rebuilt: {where}", code="node.not_dead")
    if row.state != State.ERROR or row.error_message != node_life.DEAD:
        raise NotReady(f"instance {row.name} is {row.state}: {row.error_message or 'nothing is wrong with it'}")


def _put_back(row: Instance, blobs: Mapping[str, UUID]) -> dict[str, Any]:
    """The disks are those of the set; what their rows said before."""
    former = {}
    for disk in row.disks.filter(device__in=blobs):
        former[disk.device] = {"blob": str(disk.blob_id) if disk.blob_id else None, "base": disk.base}
        captures.lay_on(disk, blobs[disk.device])
    return former


def stages(operation: Operation) -> Sequence[Stage]:
    return [[instances.step(Instance.objects.get(pk=operation.params["instance"]), "ensure_instance")]]


def finish(operation: Operation, ended: Ended) -> None:
    params = operation.params
    instance = Instance.objects.select_for_update().get(pk=params["instance"])
    if ended.ok and instance.state == State.ERROR:
        moves.arrived(instance)
        moves.settle(instance)
        _let_go(params["former"])
    elif not ended.ok:  # a parked one too: what may run there is no more than a snapshot
        retract(operation)
        moves.leave(Instance.objects.get(pk=instance.pk), UUID(params["target"]))


def _let_go(former: Mapping[str, Any]) -> None:
    """Of what the disks lay on before."""
    for blob in Blob.objects.filter(pk__in=[disk["blob"] for disk in former.values() if disk["blob"]]).order_by("pk"):
        attachment.discard_blob(blob)


def retract(operation: Operation) -> None:
    """It is where it was, on the dead node, with the disks that it had there: it can be rebuilt again."""
    params = operation.params
    wishes.retract(UUID(params["target"]), "instance", UUID(params["instance"]))
    back = Instance.objects.filter(pk=params["instance"], node_id=params["target"])
    dead = params["dead"]
    if back.update(node_id=dead["node"], console_port=dead["console_port"], vdi_port=dead["vdi_port"]):
        for device, disk in params["former"].items():
            Disk.objects.filter(instance=params["instance"], device=device).update(**disk)
    instances.raise_generation(UUID(params["instance"]))


OPERATION = Kind(
    name="instance_rebuild",
    stages=stages,
    finish=finish,
    retract=retract,
    mend=attachment.mend_ports,
    creates=True,
    priority=15,
)

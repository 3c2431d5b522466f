"""Capture disks of an instance, all at one moment, as new versions of its snapshot artifacts. A running guest runs on."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sftasks import captures, engine, outcomes
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sftasks.plans import instances
from sfweb.domain import limits, snapshots
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.transactions import durable
from sfweb.errors import NotFound
from sfweb.models import Instance, Operation, SnapshotSet


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A snapshot of one instance. `devices` null: all disks; `schedule`: whose tick it is."""

    caller: Caller
    instance: Instance
    devices: Sequence[str] | None = None
    max_versions: int | None = None
    schedule: uuid.UUID | None = None


def ask(wanted: Sequence[Asked]) -> list[Accepted]:
    """`request` for each, all or nothing, in a transaction that is open already; as many statements as for one."""
    identities = [uuid.uuid4() for _ in wanted]
    limits.check_waiting(Counter(one.instance.namespace_id for one in wanted if one.caller != CLUSTER))
    operations = engine.submit_new([_wish(one, identity) for one, identity in zip(wanted, identities, strict=True)])
    rows = _lock(wanted)
    promised = captures.promise(
        [
            captures.Capture(
                rows[one.instance.pk],
                snapshots.disks_to_capture(rows[one.instance.pk], one.devices),
                one.max_versions,
                {"uuid": identity, **({"reason": "schedule", "schedule_uuid": one.schedule} if one.schedule else {})},
            )
            for one, identity in zip(wanted, identities, strict=True)
        ]
    )
    engine.aim(*zip(operations, (made.targets for made in promised), strict=True))
    return [Accepted(made.snapshot, operation) for operation, made in zip(operations, promised, strict=True)]


def _wish(asked: Asked, snapshot: uuid.UUID) -> Wish:
    of_whom = [("schedule", asked.schedule)] if asked.schedule else []
    return instances.wish("instance_snapshot", asked.instance, asked.caller, *of_whom, snapshot=str(snapshot))


def _lock(wanted: Sequence[Asked]) -> dict[uuid.UUID, Instance]:
    """The instances, in the order of their key, with their disks and namespaces. Raises NotFound."""
    rows = Instance.objects.select_for_update().prefetch_related("disks")
    found = {row.pk: row for row in rows.filter(pk__among={one.instance.pk for one in wanted}).order_by("pk")}
    for one in wanted:
        if one.instance.pk not in found:
            raise NotFound(f"instance not found: {one.instance.pk}")
        found[one.instance.pk].namespace = one.instance.namespace
    return found


@durable
def request(
    caller: Caller, instance: Instance, devices: Sequence[str] | None = None, max_versions: int | None = None
) -> Accepted:
    """`devices` null: all disks. Raises NotReady until the instance is created, NotFound for a device that it has not."""
    asked = Asked(caller=caller, instance=instance, devices=devices, max_versions=max_versions)
    return ask([asked])[0]


def stages(operation: Operation) -> Sequence[Stage]:
    return [[captures.step(Instance.objects.get(pk=operation.params["instance"]), operation.params["snapshot"])]]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    snapshot = SnapshotSet.objects.select_for_update().get(pk=operation.params["snapshot"])
    assert instance.node_id is not None, "an instance that was created has a node"
    facts = outcomes.facts(operation, "snapshot_instance")
    if ended.ok and facts is not None:
        captures.keep(snapshot, instance.node_id, facts)
    else:
        captures.give_up(snapshot, instance.node_id, f"{ended.code}: {ended.message}")


OPERATION = Kind(name="instance_snapshot", stages=stages, finish=finish, priority=20)

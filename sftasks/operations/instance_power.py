"""Power verbs: on, off, pause and unpause are wishes that the newest wins; the reboots are operations of their own."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import F

from sftasks import attachment, devices, engine
from sftasks.operation import Accepted, Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotReady
from sfweb.models import Instance, Operation
from sfweb.models.state import OPEN_OPERATION, State

WISHES = {"poweron": "on", "poweroff": "off", "pause": "paused", "unpause": "on"}
NEEDS = {
    "poweron": ("off",),
    "poweroff": ("on", "paused"),
    "pause": ("on", "paused"),
    "unpause": ("paused",),
    "rebootsoft": ("on",),
    "reboothard": ("on", "paused"),
}
"""The powers in which a verb makes sense (PW-1): that of the wish, or what the node has shown while it is not yet as wished."""


@durable
def request(caller: Caller, instance: Instance, verb: str) -> Accepted:
    """Raises NotReady while the instance is not created, Conflict when its power does not allow the verb."""
    reboot = verb in ("rebootsoft", "reboothard")
    operation = engine.submit(
        instances.wish("instance_reboot" if reboot else "instance_power", instance, caller, verb=verb)
    )
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    if row.state != State.CREATED:
        raise NotReady(f"instance {row.name} is {row.state}")
    if not _makes_sense(row, verb, operation):
        raise Conflict(f"instance {row.name} is {row.power}: cannot {verb}", code="instance.power")
    if not reboot:
        engine.remember(operation, former=row.power)
        Instance.objects.filter(pk=row.pk).update(power=WISHES[verb], power_generation=F("generation") + 1)
        instances.raise_generation(row.pk)
    row.refresh_from_db()
    return Accepted(row, operation)


def _makes_sense(row: Instance, verb: str, operation: Operation) -> bool:
    """What is as wished already makes no sense; it does while the node shows otherwise, and said twice while it is done."""
    if row.power in NEEDS[verb]:
        return True
    if verb not in WISHES or row.power != WISHES[verb]:
        return False
    same = Operation.objects.filter(object_key=operation.object_key, kind=operation.kind, state__in=OPEN_OPERATION)
    return bool(row.observed_power in NEEDS[verb] or operation.joined) or same.exclude(pk=operation.pk).exists()


def stages(operation: Operation) -> Sequence[Stage]:
    return [[instances.step(Instance.objects.get(pk=operation.params["instance"]), "ensure_instance")]]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    if ended.ok:
        instances.note_power(instance, operation)
    devices.settle(instance)


def retract(operation: Operation) -> None:
    """Put the former wish back, unless a newer one has replaced ours in the meantime."""
    ours = WISHES[operation.params["verb"]]
    former = operation.params["former"]
    Instance.objects.filter(pk=operation.params["instance"], power=ours).update(
        power=former, power_generation=F("generation") + 1
    )
    instances.raise_generation(UUID(operation.params["instance"]))


OPERATION = Kind(
    name="instance_power",
    stages=stages,
    finish=finish,
    retract=retract,
    mend=attachment.mend_ports,
    coalesces=True,
    priority=10,
)

"""Power verbs: on, off, pause and unpause are wishes that the newest wins; the reboots are operations of their own."""

from collections.abc import Sequence

from sftasks import attachment, engine
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sftasks.plans import instances
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotReady
from sfweb.models import Instance, Operation
from sfweb.models.state import State

WISHES = {"poweron": "on", "poweroff": "off", "pause": "paused", "unpause": "on"}
NEEDS = {
    "pause": ("on", "paused"),
    "unpause": ("paused", "on"),
    "rebootsoft": ("on",),
    "reboothard": ("on", "paused"),
}
"""The power wishes in which a verb makes sense; the others always do (PW-1)."""


@durable
def request(caller: Caller, instance: Instance, verb: str) -> Accepted:
    """Raises NotReady while the instance is not created, Conflict when its power does not allow the verb."""
    reboot = verb in ("rebootsoft", "reboothard")
    operation = engine.submit(
        Wish(
            kind="instance_reboot" if reboot else "instance_power",
            object_key=f"instance:{instance.pk}",
            targets=[("instance", instance.pk)],
            params={"instance": str(instance.pk), "verb": verb},
            caller=caller,
            namespace=instance.namespace_id,
        )
    )
    row = Instance.objects.select_for_update().get(pk=instance.pk)
    if row.state != State.CREATED:
        raise NotReady(f"instance {row.name} is {row.state}")
    if row.power not in NEEDS.get(verb, (row.power,)):
        raise Conflict(f"instance {row.name} is {row.power}: cannot {verb}", code="instance.power")
    if not reboot:
        engine.remember(operation, former=row.power)
        Instance.objects.filter(pk=row.pk).update(power=WISHES[verb])
        instances.raise_generation(row.pk)
    row.refresh_from_db()
    return Accepted(row, operation)


def stages(operation: Operation) -> Sequence[Stage]:
    return [[instances.step(Instance.objects.get(pk=operation.params["instance"]), "ensure_instance")]]


def finish(operation: Operation, ended: Ended) -> None:
    instance = Instance.objects.select_for_update().get(pk=operation.params["instance"])
    if ended.ok:
        instances.note_power(instance, operation)


def retract(operation: Operation) -> None:
    """Put the former wish back, unless a newer one has replaced ours in the meantime."""
    ours = WISHES[operation.params["verb"]]
    former = operation.params["former"]
    Instance.objects.filter(pk=operation.params["instance"], power=ours).update(power=former)
    instances.raise_generation(Instance.objects.get(pk=operation.params["instance"]).pk)


OPERATION = Kind(
    name="instance_power",
    stages=stages,
    finish=finish,
    retract=retract,
    mend=attachment.mend_ports,
    coalesces=True,
    priority=10,
)

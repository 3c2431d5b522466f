"""Reboot a running guest, by its own power button or by the reset line. Done once: an interrupted one is not repeated (EN-8)."""

from collections.abc import Sequence

from sftasks.operation import Ended, Kind, Stage
from sftasks.plans import instances
from sfweb.models import Instance, Operation


def stages(operation: Operation) -> Sequence[Stage]:
    instance = Instance.objects.get(pk=operation.params["instance"])
    return [[instances.step(instance, "reboot_instance", hard=operation.params["verb"] == "reboothard")]]


def finish(operation: Operation, ended: Ended) -> None:
    """Nothing to write: a reboot changes no row, and one that was interrupted says so in the operation."""


OPERATION = Kind(name="instance_reboot", stages=stages, finish=finish, priority=10)

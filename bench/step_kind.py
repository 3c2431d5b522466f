"""An operation made of many equal steps, for `bench.steps` alone: it is registered when this module is imported."""

from collections.abc import Sequence

from sftasks.operation import Ended, Kind, Stage, kinds
from sftasks.plans import instances
from sfweb.models import Instance, Operation

NAME = "bench_steps"


def stages(operation: Operation) -> Sequence[Stage]:
    instance = Instance.objects.get(pk=operation.params["instance"])
    return [[instances.step(instance, "observe_instance")] for _ in range(operation.params["steps"])]


def finish(operation: Operation, ended: Ended) -> None:
    """Nothing to write."""


kinds()[NAME] = Kind(name=NAME, stages=stages, finish=finish, observational=True)  # type: ignore[index]

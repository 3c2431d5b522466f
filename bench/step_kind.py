"""An operation made of many equal steps, for `bench.steps` alone: it is registered when this module is imported."""

from collections.abc import Sequence

from bench import step_action
from sftasks.operation import Ended, Kind, Stage, kinds, served
from sftasks.plans import instances
from sfweb.models import Instance, Operation

NAME = "bench_steps"


def stages(operation: Operation) -> Sequence[Stage]:
    instance = Instance.objects.get(pk=operation.params["instance"])
    return [[instances.step(instance, step_action.NAME)] for _ in range(operation.params["steps"])]


def finish(operation: Operation, ended: Ended) -> None:
    """Nothing to write."""


rendered = served()["instance"].requests
rendered[step_action.NAME] = rendered["observe_instance"]  # type: ignore[index]
kinds()[NAME] = Kind(name=NAME, stages=stages, finish=finish, observational=True)  # type: ignore[index]

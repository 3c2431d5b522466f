"""Empty a namespace: its instances, then its networks, then its artifacts, as they were when that was asked (AR-15).

What is to go stands in `params`; what is made later stays. The reconciler `namespace_cleans` asks for one kind of deletes
after the other and lets this operation depend on each, so a delete that fails ends it with that cause. Artifacts that
others share with the namespace are not its own and are not touched. Uploads that nobody published end last.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from sftasks import engine, parents
from sftasks.operation import Accepted, Ended, Kind, Stage, Wish
from sfweb.domain.callers import Caller
from sfweb.domain.transactions import durable
from sfweb.errors import Invalid
from sfweb.models import FLOATING, Artifact, Instance, Namespace, Network, Operation, Upload
from sfweb.models.namespace import SYSTEM
from sfweb.models.state import OPEN_OPERATION, State, transition

PHASES: dict[str, type[Any]] = {"instances": Instance, "networks": Network, "artifacts": Artifact}
"""In this order."""
CAPTURED: dict[str, type[Any]] = {**PHASES, "uploads": Upload}


@durable
def request(caller: Caller, namespace: Namespace, *, confirmed: bool = False) -> Accepted:
    """Repeated while nothing new has come, it answers the same operation. Invalid for `system` without the confirmation."""
    if namespace.name == SYSTEM and not confirmed:
        raise Invalid("confirm: must be true to empty the system namespace")
    lists = {name: [str(pk) for pk in _living(model, namespace)] for name, model in CAPTURED.items()}
    for running in Operation.objects.filter(
        object_key=f"namespace:{namespace.pk}", kind="namespace_clean", state__in=OPEN_OPERATION
    ):
        if all(set(uuids) <= set(running.params[name]) for name, uuids in lists.items()):
            return Accepted(namespace, running)
    operation = engine.submit(
        Wish(
            kind="namespace_clean",
            object_key=f"namespace:{namespace.pk}",
            targets=[("namespace", namespace.pk)],
            params={"by": parents.whoever_asked(caller), **lists},
            caller=caller,
            namespace=namespace.pk,
        )
    )
    return Accepted(namespace, operation)


def _living(model: type[Any], namespace: Namespace) -> list[UUID]:
    rows = model.objects.filter(namespace=namespace).exclude(state=State.DELETED).exclude(pk=FLOATING)
    return list(rows.order_by("created_at").values_list("pk", flat=True))


def remaining(operation: Operation, phase: str) -> "QuerySet[Any]":
    """What is to go and is still there."""
    rows: QuerySet[Any] = PHASES[phase].objects.filter(pk__in=operation.params[phase])
    return rows.exclude(state=State.DELETED)


def ready(operation: Operation) -> str:
    left = {phase: remaining(operation, phase).count() for phase in PHASES}
    told = ", ".join(f"{count} {phase}" for phase, count in left.items() if count)
    return f"{told} are still there" if told else ""


def stages(operation: Operation) -> Sequence[Stage]:
    """None of its own: what it depends on has done it."""
    return []


def finish(operation: Operation, ended: Ended) -> None:
    """What had been uploaded and never published; its bytes are cleared away like those of any other ended upload."""
    if not ended.ok:
        return
    rows = Upload.objects.select_for_update().filter(pk__in=operation.params["uploads"], state=State.CREATED)
    for upload in rows.order_by("pk"):
        transition(upload, State.DELETED)


OPERATION = Kind(name="namespace_clean", stages=stages, finish=finish, ready=ready, priority=20)

"""Brings drains on: asks for the next moves, a few at a time, notes what has to stay and why, and ends what is done."""

import logging
from uuid import UUID

from django.conf import settings

from sftasks import engine, parents
from sftasks.operations import instance_migrate, node_drain
from sfweb.domain.nodes import instances_on
from sfweb.domain.transactions import durable
from sfweb.errors import SteadyfistError
from sfweb.models import DependencyKind, Instance, Operation
from sfweb.models.state import OPEN_OPERATION, OperationState, State

log = logging.getLogger(__name__)
NOT_YET = ("instance.busy", "instance.moving", "node.silent", "namespace_limit")
"""What passes by itself: the drain waits for it, and says so."""
ON_ITS_WAY = (State.INITIAL, State.CREATING, State.DELETE_WAIT)


def run() -> dict[str, int]:
    return {"asked": parents.go_on_with_each("node_drain", go_on)}


def go_on(operation: Operation) -> int:
    """Ask for the next moves of one drain; how many."""
    tried = {move.params["instance"]: move for move in node_drain.moves(operation).order_by("created_at")}
    moving, asked = sum(move.state in OPEN_OPERATION for move in tried.values()), 0
    for row in node_drain.to_move(operation):
        if moving + asked >= settings.DRAIN_AT_ONCE:
            break
        asked += _go_on_with(operation, row, tried.get(str(row.pk)))
    parents.tell_progress(operation, instances_on(UUID(operation.params["node"])).count())
    if not moving and not asked:
        _settle(operation.pk)
    return asked


def _go_on_with(operation: Operation, row: Instance, last: Operation | None) -> int:
    """1 when a move was asked for. `last`: the newest that was."""
    if row.state in ON_ITS_WAY or (last is not None and last.state in OPEN_OPERATION):
        return 0
    if last is None or last.state == OperationState.SUCCEEDED:
        return _ask(operation, row, live=None)
    if operation.params["cold"] and last.params.get("how") == instance_migrate.LIVE:
        return _ask(operation, row, live=False)
    _stays(operation.pk, row, last.error_code, last.error_message)
    return 0


def _ask(operation: Operation, row: Instance, live: bool | None) -> int:
    try:
        move = instance_migrate.request(parents.asker(operation), row, None, live).operation
    except SteadyfistError as error:
        if error.code in NOT_YET:
            log.info("not yet: %s", error, extra={"instance": str(row.pk)})
        elif live is None and operation.params["cold"] and row.power == "on":
            return _ask(operation, row, live=False)
        else:
            _stays(operation.pk, row, error.code, str(error))
        return 0
    parents.wait_for(operation.pk, [move], DependencyKind.RUNS_AFTER)
    return 1


@durable
def _stays(drain: UUID, row: Instance, code: str, message: str) -> None:
    operation = Operation.objects.select_for_update().get(pk=drain)
    reason = {"name": row.name, "code": code, "message": message or code}
    left = {**operation.params["left"], str(row.pk): reason}
    Operation.objects.filter(pk=drain).update(params={**operation.params, "left": left})


@durable
def _settle(drain: UUID) -> None:
    """End it when nothing moves any more, as failed when something had to stay."""
    operation = Operation.objects.select_for_update().get(pk=drain)
    if operation.state != OperationState.WAITING or node_drain.to_move(operation).exists():
        return
    left = operation.params["left"]
    if left:
        engine.end(operation, OperationState.FAILED, "drain.incomplete", node_drain.told(left))
    else:
        engine.after_commit(engine.advance, drain)

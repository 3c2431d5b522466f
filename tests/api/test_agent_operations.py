"""Agent operations as the public client reads them."""

from typing import Any

import pytest

from sfweb.models import AgentOperation, Instance, Operation
from sfweb.models.state import AgentOperationState, OperationState
from tests.api.world import World


def execute(world: World, **more: Any) -> dict[str, Any]:
    path = f"/instances/{world.instance.uuid}/agent/execute"
    answer = world.person("owner").post(path, {"command_line": "ls /", "deadline_seconds": None} | more)
    assert answer.status_code == 200, answer.content
    assert 'rel="operation"' in answer["Link"]
    told: dict[str, Any] = answer.json()
    return told


def test_ag_1_a_command_is_queued_and_found_again(world: World):
    told = execute(world)
    assert (told["state"], told["instance_uuid"], told["results"]) == ("queued", str(world.instance.uuid), {})
    assert told["commands"] == [{"command": "execute", "commandline": "ls /"}]
    owner = world.person("owner")
    assert owner.get(f"/agentoperations/{told['uuid']}").json() == told
    listed = owner.get(f"/instances/{world.instance.uuid}/agentoperations", {"all": False}).json()
    assert told["uuid"] in [row["uuid"] for row in listed]


def test_ag_7_the_view_shows_how_it_stands(world: World):
    told = execute(world, deadline_seconds=60)
    assert 0 < told["deadline"] - told["created_at"] <= 60.1
    assert (told["progress_timeout"], told["attempts"], told["error_message"]) == (0, 0, None)
    Operation.objects.filter(agent_operations=told["uuid"]).update(state=OperationState.RUNNING)
    assert world.person("owner").get(f"/agentoperations/{told['uuid']}").json()["state"] == "executing"


def test_ag_6_a_command_never_has_all_the_time_in_the_world(world: World, settings: Any):
    told = execute(world, deadline_seconds=0)
    assert told["deadline"] - told["created_at"] == pytest.approx(settings.AGENT_OPERATION_MAX_DEADLINE, abs=1)
    path = f"/instances/{world.instance.uuid}/agent/get"
    told = world.person("owner").post(path, {"path": "/etc/motd", "deadline_seconds": 0}).json()
    assert told["deadline"] is None
    assert told["progress_timeout"] == 30


def test_ag_10_delete_takes_a_waiting_one_out_and_forgets_an_ended_one(world: World):
    owner, told = world.person("owner"), execute(world)
    assert owner.delete(f"/agentoperations/{told['uuid']}").json() is None
    assert AgentOperation.objects.get(pk=told["uuid"]).state == AgentOperationState.DELETED
    assert owner.delete(f"/agentoperations/{told['uuid']}").status_code == 404
    listed = owner.get(f"/instances/{world.instance.uuid}/agentoperations", {"all": True}).json()
    assert told["uuid"] not in [row["uuid"] for row in listed]


@pytest.mark.parametrize(
    ("columns", "status", "error"),
    [
        ({"agent_state": "not ready (no contact)"}, 400, "is not ready"),
        ({"side_channels": []}, 400, "without a side channel"),
        ({"state": "creating"}, 406, "is creating"),
    ],
)
def test_nobody_is_asked_where_nobody_answers(world: World, columns: dict[str, Any], status: int, error: str):
    Instance.objects.filter(pk=world.instance.pk).update(**columns)
    answer = world.person("owner").post(f"/instances/{world.instance.uuid}/agent/execute", {"command_line": "ls"})
    assert (answer.status_code, error in answer.json()["error"]) == (status, True)
    assert AgentOperation.objects.count() == 1

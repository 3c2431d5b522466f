"""What an operator does to nodes: cordon, drain, move what is there."""

import pytest

from sfweb.domain import placement
from sfweb.domain.placement_rules import Asked, Room, candidates
from sfweb.models import CarrierLease, Node, Operation
from tests.api.world import Person, World

ASKED = Asked(room=Room(cpus=1, memory_mb=1, disk_gb=1))


def rejections() -> dict[str, str]:
    return {reason.offer.name: reason.stage for reason in candidates(placement.snapshot(), ASKED)[1]}


def test_a_cordoned_node_takes_nothing_new_until_it_is_uncordoned(system: Person, world: World):
    assert system.post("/nodes/n1/cordon").json()["cordoned"] is True
    assert rejections()["n1"] == "is_hypervisor"
    assert system.post("/nodes/n1/cordon").json()["cordoned"] is True
    assert system.get("/nodes/n1").json()["cordoned"] is True
    assert system.post("/nodes/n1/uncordon").json()["cordoned"] is False
    assert rejections().get("n1") != "is_hypervisor"
    told = [event["message"].partition(" by ")[0] for event in system.get("/nodes/n1/events").json()]
    assert [message for message in told if "cordoned" in message] == ["node uncordoned", "node cordoned"]


def test_a_node_that_is_not_there_cannot_be_cordoned(system: Person, world: World):
    assert system.post("/nodes/nowhere/cordon").status_code == 404
    Node.objects.filter(pk=world.node.pk).update(state="deleted")
    assert system.post("/nodes/n1/uncordon").status_code == 404


def test_a_drain_is_accepted_and_says_what_it_waits_for(system: Person, world: World):
    answer = system.post("/nodes/n1/drain")
    assert (answer.status_code, answer.json()["cordoned"]) == (202, True)
    path = answer["Location"].removeprefix("http://testserver")
    assert "instances are to be moved yet" in system.get(path).json()["why"]["sentence"]
    again = system.post("/nodes/n1/drain", {"cold": True})
    assert again["Location"] == answer["Location"]
    assert system.post(f"{path}/cancel").status_code == 202


def test_a_node_with_instances_is_deleted_only_with_them_and_says_what_it_waits_for(system: Person, world: World):
    refused = system.delete("/nodes/n1")
    assert (refused.status_code, refused.json()["code"]) == (409, "node.in_use")
    listed = refused.json()["details"]["on_it"]["instances"]
    assert {"uuid": str(world.instance.uuid), "name": "one"} in listed
    assert system.delete("/nodes/n1?cascade=perhaps").status_code == 400
    assert system.get("/nodes/n1").json()["cordoned"] is False
    CarrierLease.objects.all().delete()
    answer = system.delete("/nodes/n1?cascade=true")
    assert (answer.status_code, answer.json()["cordoned"], answer.json()["state"]) == (200, True, "created")
    path = answer["Link"].partition(">")[0].removeprefix("<http://testserver")
    assert "instances are still there" in system.get(f"{path}/why").json()["sentence"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/nodes/n1/drain", {"cold": "perhaps"}),
        ("/nodes/n1/drain", {"ref": "n2"}),
        ("/instances/INSTANCE/migrate", {"placed_on": 1}),
        ("/instances/INSTANCE/migrate", {"live": "soon"}),
        ("/instances/INSTANCE/migrate", {"where": "n2"}),
    ],
)
def test_iv_1_what_is_not_understood_is_refused(system: Person, world: World, path: str, body: dict[str, object]):
    answer = system.post(path.replace("INSTANCE", str(world.instance.uuid)), body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_a_move_is_refused_with_a_reason_for_each_node(system: Person, world: World):
    Operation.objects.filter(object_key=f"instance:{world.instance.uuid}").update(state="succeeded")
    answer = system.post(f"/instances/{world.instance.uuid}/migrate", {"placed_on": "n1"})
    assert answer.status_code == 507
    reasons = [(node["node"], node["stage"]) for node in answer.json()["details"]["nodes"]]
    assert reasons == [("n1", "unlike_its_node")]
    assert system.post(f"/instances/{world.instance.uuid}/migrate", {"placed_on": "nowhere"}).status_code == 404

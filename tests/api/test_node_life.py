"""What an operator does to nodes: cordon and uncordon."""

from sfweb.domain import placement
from sfweb.models import Node
from tests.api.world import Person, World

ROOM = placement.Room(cpus=1, memory_mb=1, disk_gb=1)


def rejections() -> dict[str, str]:
    return {reason.node: reason.stage for reason in placement.candidates(placement.snapshot(), ROOM)[1]}


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

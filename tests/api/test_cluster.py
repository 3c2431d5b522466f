"""What concerns the whole cluster: keys that are held, resources, the certificate; and a node's own programs."""

from typing import Any

import pytest

from sfweb.models import Node, NodeCapacity, Operation, Step
from tests.api.world import Person, World, make_node

PEM = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----"


def test_a_key_is_shown_with_its_operation_and_the_node_that_it_waits_for(system: Person, world: World):
    assert system.get("/admin/locks").json() == {}, "what only waits holds nothing"
    key = world.operation.object_key
    Operation.objects.update(state="running", running_key=key)
    second = make_node("n2")
    for number, (node, state) in enumerate([(second, "planned"), (world.node, "sent"), (second, "done")]):
        Step.objects.create(
            operation=world.operation,
            stage=number,
            node=node,
            action="ensure_instance",
            object_type="instance",
            object_uuid=world.instance.uuid,
            state=state,
        )
    held = system.get("/admin/locks").json()
    assert held == {key: {"pid": None, "node": "n1", "operation": f"instance_create {world.operation.uuid}"}}


def test_sc_32_reservations_are_listed_with_their_state_and_filtered(system: Person, owner: Person, world: World):
    made = owner.post("/instances", {"name": "new", "cpus": 2, "memory": 64, "disk": [{"size": 1}]}).json()
    told = {row["instance_name"]: row for row in system.get("/admin/reservations").json()}
    assert (told["one"]["state"], told["one"]["expires_at"]) == ("consumed", None)
    claim = told["new"]
    assert (claim["state"], claim["instance_uuid"], claim["node"], claim["namespace"], claim["cpus"]) == (
        *("claimed", made["uuid"], "n1", "owner", 2),
    )
    assert claim["expires_at"] - claim["created_at"] == pytest.approx(600, abs=5)
    assert [row["instance_name"] for row in system.get("/admin/reservations?state=claimed").json()] == ["new"]
    assert system.get("/admin/reservations?node=n2").json() == []
    assert system.get("/admin/reservations?state=lost").status_code == 400


def test_sc_26_resources_are_what_placement_counts_beside_what_is_measured(system: Person, world: World):
    make_node("n2")
    measured = {"cpus": 1.5, "memory_mb": 900, "disk_gb": "much"}
    Node.objects.filter(name="n1").update(facts={"measured": measured})
    NodeCapacity.objects.filter(node=world.node).update(used_cpus=4, used_memory_mb=1024)
    told = system.get("/admin/resources").json()
    assert told["per_node"]["n1"] == {
        "accepts_instances": True,
        "cpu_max_per_instance": 32,
        "cpu_max": 64,
        "cpu_available": 60,
        "ram_max": 65536,
        "ram_available": 64512,
        "disk_max": 1000,
        "disk_available": 995,
        "cpu_hard_max": 64,
        "cpu_committed": 4,
        "cpu_committed_row_present": True,
        "ram_committed": 1024,
        "disk_committed": 5,
        "cpu_measured": 1.5,
        "ram_measured": 900,
        "disk_measured": None,
    }
    assert told["per_node"]["n2"]["cpu_measured"] is None, "it has not said so yet"
    NodeCapacity.objects.filter(node__name="n2").delete()
    assert system.get("/admin/resources").json()["per_node"]["n2"]["cpu_committed_row_present"] is False
    make_node("n3")
    told = system.get("/admin/resources").json()
    assert told["total"]["cpu_available"] == 124
    assert told["total"]["ram_available"] == 64512 + 65536
    assert told["total"]["cpu_max_per_instance"] == 32


def test_a_node_that_takes_nothing_new_adds_nothing_to_the_total(system: Person, world: World):
    make_node("n2")
    Node.objects.filter(name="n2").update(cordoned=True)
    told = system.get("/admin/resources").json()
    assert told["per_node"]["n2"]["accepts_instances"] is False
    assert told["total"]["cpu_max"] == 64
    Node.objects.filter(name="n1").update(last_seen=None)
    assert system.get("/admin/resources").json()["total"]["cpu_max"] == 0


def test_the_certificate_is_given_as_text_and_nothing_else_of_its_file(owner: Person, settings: Any, tmp_path: Any):
    file = tmp_path / "ca.pem"
    file.write_text(f"-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n{PEM}\n")
    settings.CACERT_FILE = str(file)
    answer = owner.get("/admin/cacert")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    assert answer.content.decode() == f"{PEM}\n"


@pytest.mark.parametrize("content", [None, "", "nonsense", b"\xff\xfe"])
def test_without_a_certificate_the_answer_says_so(owner: Person, settings: Any, tmp_path: Any, content: Any):
    settings.CACERT_FILE = str(tmp_path / "ca.pem")
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = owner.get("/admin/cacert")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_ca")
    settings.CACERT_FILE = ""
    assert "CACERT_FILE is not set" in owner.get("/admin/cacert").json()["error"]
    assert owner.get("/admin/vditokenpubkey").json()["code"] == "no_key"


def test_the_cpu_that_a_nodes_programs_take(system: Person, world: World):
    assert system.get("/nodes/n1/processmetrics").json() == {}
    Node.objects.update(facts={"cpu_fractions": {"report": 0.25, "work": 1}})
    assert system.get("/nodes/n1/processmetrics").json() == {
        "process_cpu_fraction_report": 0.25,
        "process_cpu_fraction_work": 1.0,
    }
    assert system.get("/nodes/nowhere/processmetrics").status_code == 404


@pytest.mark.parametrize(
    "claim", [5, ["report"], {"report": "much"}, {"report": True}, {"report": -1}, {"x" * 65: 0.1}, {"report": None}]
)
def test_se_6_a_claim_that_makes_no_sense_is_left_out(system: Person, world: World, claim: Any):
    Node.objects.update(facts={"cpu_fractions": claim})
    assert system.get("/nodes/n1/processmetrics").json() == {}

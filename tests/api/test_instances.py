"""Instances as their owner sees and changes them."""

from typing import Any

import pytest

from sfweb.models import Disk, Instance, Interface, Operation, OperationTarget
from sfweb.models.state import State
from tests.api.world import Person, World, make_instance

FIELDS = {
    "uuid",
    "state",
    "metadata",
    "version",
    "name",
    "namespace",
    "cpus",
    "memory",
    "disk_spec",
    "ssh_key",
    "user_data",
    "video",
    "uefi",
    "secure_boot",
    "nvram_template",
    "configdrive",
    "machine_type",
    "side_channels",
    "agent_state",
    "agent_start_time",
    "agent_system_boot_time",
    "error_message",
    "console_port",
    "vdi_port",
    "vdi_tls_port",
    "node",
    "power_state",
    "interfaces",
    "disks",
    "agent_operations_queue",
}


def path(world: World, rest: str = "") -> str:
    return f"/instances/{world.instance.uuid}{rest}"


def test_every_field_is_there_at_once_and_always(owner: Person):
    made = owner.post("/instances", {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}).json()
    assert set(made) >= FIELDS
    assert made["node"] == "n1"
    assert isinstance(made["agent_state"], str)
    assert made["disk_spec"] == [{"base": None, "bus": "virtio", "size": 1, "type": "disk", "blob_uuid": None}]
    assert made["video"] == {"model": "cirrus", "memory": 16384, "vdi": "spice"}
    assert made["disks"] == []
    for row in owner.get("/instances").json():
        assert set(row) >= FIELDS


def test_ni_4_a_plugged_interface_is_shown_and_its_operation_is_there_at_once(owner: Person, world: World):
    answer = owner.post(path(world, "/interfaces"), {"network": {"network_uuid": "net", "address": "10.0.0.9"}})
    card = answer.json()
    assert answer.status_code == 200
    assert (card["ipv4"], card["order"], card["state"]) == ("10.0.0.9", 1, "initial")
    assert card["macaddr"].startswith("02:00:00:")
    operation = answer["Link"].partition(">")[0].rpartition("/")[2]
    assert owner.get(f"/operations/{operation}").json()["kind"] == "interface_plug"
    for kind, target in (
        ("interface", card["uuid"]),
        ("instance", world.instance.uuid),
        ("network", world.network.uuid),
    ):
        query = f"/clusteroperations?target_object_type={kind}&target_uuid={target}"
        assert operation in [row["uuid"] for row in owner.get(query).json()]
    assert owner.get(f"/interfaces/{card['uuid']}").json()["ipv4"] == "10.0.0.9"
    assert len(owner.get(path(world)).json()["interfaces"]) == 2


def test_ni_4_a_repeated_plug_with_the_same_key_is_one_interface(owner: Person, world: World):
    body = {"network": {"network_uuid": "net"}}
    first, again = (owner.post(path(world, "/interfaces"), body, idempotency_key="a").json() for _ in range(2))
    assert first["uuid"] == again["uuid"]
    assert Interface.objects.filter(instance=world.instance).count() == 2


def test_ni_6_an_interface_is_unplugged(owner: Person, world: World):
    answer = owner.delete(f"/interfaces/{world.interface.uuid}")
    assert (answer.status_code, answer.json()["state"]) == (202, "delete-wait")
    assert answer["Location"] in answer["Link"]
    assert set(
        OperationTarget.objects.filter(target_uuid=world.interface.uuid).values_list("target_type", flat=True)
    ) == {"interface"}


@pytest.mark.parametrize("state", ["creating", "error"])
def test_only_a_created_instance_changes(owner: Person, world: World, state: str):
    Instance.objects.filter(pk=world.instance.pk).update(state=state)
    asked: list[tuple[str, str, Any]] = [
        ("POST", path(world, "/interfaces"), {"network": {"network_uuid": "net"}}),
        ("POST", path(world, "/disks"), {"size": 1}),
        ("PATCH", path(world), {"name": "renamed"}),
        ("DELETE", f"/interfaces/{world.interface.uuid}", None),
    ]
    assert [owner.ask(*each).status_code for each in asked] == [406] * 4
    assert not Operation.objects.exclude(pk=world.operation.pk).exists()


def test_disks_come_and_go(owner: Person, world: World):
    answer = owner.post(path(world, "/disks"), {"size": 3, "bus": "scsi"})
    assert answer.status_code == 202
    assert answer.json() == {
        "device": "sdc",
        "bus": "scsi",
        "size": 3,
        "blob_uuid": None,
        "snapshot_ignores": False,
    }
    assert answer["Location"] in answer["Link"]
    assert "sdc" in [disk["device"] for disk in owner.get(path(world)).json()["disks"]]
    gone = owner.delete(path(world, "/disks/sdc"))
    assert (gone.status_code, gone.json()["device"]) == (202, "sdc")
    assert Disk.objects.get(device="sdc").state == "delete-wait"


def test_a_change_of_name_and_of_a_disks_size(owner: Person, world: World):
    answer = owner.ask("PATCH", path(world), {"name": "renamed", "disk": [{"device": "vda", "size": 9}]})
    assert answer.status_code == 202
    assert (answer.json()["name"], answer.json()["disk_spec"][0]["size"]) == ("renamed", 9)
    assert owner.get("/instances/renamed").status_code == 200


def test_a_change_of_size_while_it_is_off(owner: Person, world: World):
    Instance.objects.filter(pk=world.instance.pk).update(power="off")
    answer = owner.ask("PATCH", path(world), {"cpus": 4, "memory": 1024})
    assert (answer.json()["cpus"], answer.json()["memory"]) == (4, 1024)


def test_all_of_a_namespace_are_deleted_and_no_others(owner: Person, system: Person, world: World):
    theirs = make_instance(world.other, "theirs", world.node)
    second = make_instance(world.owner, "second", world.node)
    gone = make_instance(world.owner, "gone", world.node)
    Instance.objects.filter(pk=gone.pk).update(state=State.DELETED)
    named = owner.delete("/instances", {"confirm": True})
    assert named.status_code == 200
    assert set(named.json()) == {str(world.instance.uuid), str(second.uuid)}
    assert owner.delete("/instances", {"confirm": True}).json() == []
    assert system.delete("/instances", {"confirm": True, "namespace": "other"}).json() == [str(theirs.uuid)]

"""instance_create: everything or nothing."""

import random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sftasks import engine
from sftasks.operations import instance_create, instance_delete, network_create
from sfweb.domain import artifact_refs
from sfweb.domain.affinity import OLD_FORM
from sfweb.domain.specs import NewDisk, NewInterface
from sfweb.errors import Conflict, NoCapacity, NotFound, NotReady
from sfweb.models import (
    Address,
    Disk,
    Event,
    EventObject,
    Instance,
    Interface,
    NodeCapacity,
    Operation,
    PlacementReservation,
    PoolAllocation,
    Step,
)
from tests.cluster import repeated_undo_is_harmless, repeats_are_harmless, unwinds_from_every_step
from tests.factories import make_namespace, new_instance, new_network


def create(cluster, **more):
    return cluster.ask(instance_create.request, cluster.caller, new_instance("guest", "tenant", "net", **more))


def test_the_guest_runs(served):
    accepted = create(served)
    assert accepted.row.node_id is not None, "the node is decided in the request"
    served.settle()
    instance = Instance.objects.get(pk=accepted.row.pk)
    assert (instance.state, instance.observed_power) == ("created", "on"), instance.error_message
    assert served.findings() == []


def test_sc_13_a_forced_placement_lands_there_or_fails(served):
    assert create(served, placed_on="node2").row.node_id == served.nodes[1].pk
    NodeCapacity.objects.filter(node_id=served.nodes[1].pk).update(limit_cpus=1)
    with pytest.raises(NoCapacity) as caught:
        create(served, placed_on="node2")
    assert [node["node"] for node in caught.value.details["nodes"]] == ["node2"]
    with pytest.raises(NotFound):
        create(served, placed_on="node9")


def test_sc_14_sc_20_a_refusal_names_the_stage_and_every_node(served):
    with pytest.raises(NoCapacity) as caught:
        create(served, memory_mb=10_000_000)
    error = caught.value
    assert (error.stage, error.transient) == ("sufficient_idle_memory", True)
    short = {node["node"] for node in error.details["nodes"] if node["dimensions"]["memory_mb"]["exceeded"]}
    assert short == {"node1", "node2"}
    with pytest.raises(NoCapacity) as caught:
        create(served, cpus=500)
    assert (caught.value.stage, caught.value.transient) == ("cpu_max_per_instance", False)


def test_sc_22_ni_3_a_refused_create_keeps_no_address_mac_port_or_room(served):
    before = (
        Address.objects.count(),
        PoolAllocation.objects.count(),
        Interface.objects.count(),
        Operation.objects.count(),
    )
    for more in (
        {"memory_mb": 10_000_000},
        {"interfaces": (NewInterface(network="net"), NewInterface(network="nope"))},
    ):
        with pytest.raises((NoCapacity, NotFound)):
            create(served, **more)
    after = (
        Address.objects.count(),
        PoolAllocation.objects.count(),
        Interface.objects.count(),
        Operation.objects.count(),
    )
    assert after == before
    assert set(NodeCapacity.objects.values_list("used_cpus", flat=True)) == {0}


def test_ni_1_addresses_wanted_taken_outside_and_none(served):
    fixed = (NewInterface(network="net", address="10.0.0.9"),)
    create(served, interfaces=fixed)
    with pytest.raises(Conflict):
        create(served, interfaces=fixed)
    bare = create(served, interfaces=(NewInterface(network="net", no_address=True),))
    assert Interface.objects.get(instance=bare.row).address is None


def test_ga_6_a_chosen_mac_is_taken_once(served):
    card = (NewInterface(network="net", mac="02:00:00:12:34:56"),)
    assert Interface.objects.get(instance=create(served, interfaces=card).row).mac == "02:00:00:12:34:56"
    with pytest.raises(Conflict, match="02:00:00:12:34:56"):
        create(served, interfaces=card)


def test_a_network_that_is_not_created_yet_is_not_ready(served):
    served.ask(network_create.request, served.caller, new_network("young", netblock="10.9.0.0/24"))
    with pytest.raises(NotReady):
        create(served, interfaces=(NewInterface(network="young"),))


def test_the_second_data_disk_comes_after_the_config_drive(served):
    disks = (NewDisk(size_gb=1, base="https://images.example.org/tiny.qcow2"), NewDisk(size_gb=2))
    instance = create(served, disks=disks).row
    assert list(Disk.objects.filter(instance=instance).order_by("position").values_list("device", flat=True)) == [
        "vda",
        "vdc",
    ]


def test_a_template_of_the_firmwares_variables_is_brought_like_an_image_and_kept_while_it_is_used(served):
    url = "https://images.example.org/vars.fd"
    wanted = new_instance("secure", "tenant", "net", uefi=True, nvram_template=url)
    instance = served.ask(instance_create.request, served.caller, wanted).row
    served.settle()
    instance.refresh_from_db()
    home = next(node for node in served.nodes if node.pk == instance.node_id)
    assert str(instance.nvram_blob_id) in home.host.inventory().blobs
    step = Step.objects.get(operation__kind="instance_create")
    assert step.request["request"]["spec"]["nvram"] == str(instance.nvram_blob_id)
    assert artifact_refs.is_referenced(instance.nvram_blob_id)
    assert served.findings() == []


def labelled(cluster, name, **metadata):
    wanted = new_instance(name, "tenant", metadata=metadata)
    return cluster.ask(instance_create.request, cluster.caller, wanted).row


def test_af_2_neighbours_are_those_of_the_namespace_that_are_not_deleted(served):
    first = labelled(served, "first", tags=["web", "blue"])
    for number in range(3):
        near = labelled(served, f"near{number}", affinity={"prefer_with_tag": ["web"]})
        assert near.node_id == first.node_id
        away = labelled(served, f"away{number}", affinity={"require_without_tag": ["blue", "green"]})
        assert away.node_id != first.node_id
    stranger = make_namespace("stranger")
    wanted = new_instance("theirs", "stranger", metadata={"affinity": {"require_with_tag": ["web"]}})
    with pytest.raises(Conflict, match="require_with_tag: web"):
        served.ask(instance_create.request, stranger, wanted)
    served.settle()
    served.ask(instance_delete.request, served.caller, Instance.objects.get(pk=first.pk))
    served.settle()
    with pytest.raises(Conflict, match="require_with_tag: web"):
        labelled(served, "late", affinity={"require_with_tag": ["web"]})


def test_af_2_weights_are_understood_and_said_to_be_old(served):
    first = labelled(served, "first", tags=["web"])
    near = labelled(served, "near", affinity={"web": 10})
    assert near.node_id == first.node_id
    told = EventObject.objects.filter(object_uuid=near.pk).values_list("event_uuid", flat=True)
    assert Event.objects.filter(uuid__in=told, message=OLD_FORM).count() == 1


@pytest.mark.parametrize(("metadata", "reads"), [({}, 0), ({"tags": ["web"]}, 0), ({"affinity": {"web": 1}}, 1)])
def test_af_2_neighbours_are_looked_for_once_and_only_where_affinity_asks(served, metadata, reads):
    with CaptureQueriesContext(connection) as said:
        labelled(served, "one", **metadata)
    assert sum("JSON_OVERLAPS" in query["sql"] for query in said.captured_queries) == reads


def test_sc_25_a_placement_and_its_release_are_told_with_node_and_counters(served):
    instance = create(served).row
    served.settle()
    served.ask(instance_delete.request, served.caller, Instance.objects.get(pk=instance.pk))
    served.settle()
    uuids = EventObject.objects.filter(object_uuid=instance.pk).values_list("event_uuid", flat=True)
    told = {row.message: row.extra for row in Event.objects.filter(uuid__in=uuids)}
    placed, released = told["instance placed"], told["room released"]
    assert placed["node"] == released["node"] == instance.node.name
    assert placed["room"] == released["room"] == {"cpus": 1, "memory_mb": 256, "disk_gb": 1}
    assert placed["counters"]["memory_mb"]["used"] == 256
    assert released["counters"]["memory_mb"]["used"] == 0
    assert placed["counters"]["cpus"]["limit"] == released["counters"]["cpus"]["limit"] > 0
    on_node = EventObject.objects.filter(object_type="node", object_uuid=instance.node_id)
    assert set(uuids) & set(on_node.values_list("event_uuid", flat=True))


def batch_of(number, **more):
    return [new_instance(f"guest{index}", "tenant", "net", **more) for index in range(number)]


def test_sc_30_every_member_of_a_batch_runs(served):
    random.seed(1)  # of nodes that are equal by affinity one is drawn
    made = served.run(instance_create.request_batch, served.caller, batch_of(7))
    assert [row.name for row in made.rows] == [f"guest{index}" for index in range(7)]
    assert len({row.node_id for row in made.rows}) == 2, "they are spread"
    served.settle()
    assert set(Instance.objects.values_list("state", flat=True)) == {"created"}
    assert set(PlacementReservation.objects.values_list("state", flat=True)) == {"consumed"}
    assert served.findings() == []


def test_sc_30_a_member_that_fails_on_its_node_takes_no_other_with_it(served):
    made = served.run(instance_create.request_batch, served.caller, batch_of(2))
    first = made.operations[0]
    served.run(engine.cancel, first.pk, served.caller)
    served.settle()
    assert [Instance.objects.get(pk=row.pk).state for row in made.rows] == ["error", "created"]
    assert served.findings() == []


def test_sc_30_a_batch_with_one_member_that_cannot_be_leaves_no_row(served):
    before = (Address.objects.count(), PoolAllocation.objects.count(), Operation.objects.count())
    wanted = [
        *batch_of(3),
        new_instance("last", "tenant", interfaces=(NewInterface(network="net", address="10.0.0.1"),)),
    ]
    with pytest.raises(Conflict, match=r"10\.0\.0\.1"):
        served.run(instance_create.request_batch, served.caller, wanted)
    with pytest.raises(NotFound, match=r"instances\[1\]: network not found: nope"):
        served.run(instance_create.request_batch, served.caller, [batch_of(1)[0], new_instance("x", "tenant", "nope")])
    assert (Address.objects.count(), PoolAllocation.objects.count(), Operation.objects.count()) == before
    assert not Instance.objects.exists()
    assert set(NodeCapacity.objects.values_list("used_cpus", flat=True)) == {0}


def test_sc_30_a_network_that_is_nearly_full_still_gives_each_its_address(served):
    small = new_network("small", netblock="10.8.0.0/28")
    served.ask(network_create.request, served.caller, small)
    served.settle()
    wanted = [new_instance(f"guest{index}", "tenant", "small") for index in range(13)]
    served.run(instance_create.request_batch, served.caller, wanted)
    assert len(set(Interface.objects.values_list("address", flat=True))) == 13
    with pytest.raises(NoCapacity, match="no free address"):
        served.run(instance_create.request_batch, served.caller, wanted[:1])


def test_repeats_are_harmless(served):
    assert repeats_are_harmless(served, create).state == "succeeded"


def test_unwinds_from_every_step(make_served):
    refused = unwinds_from_every_step(make_served, lambda cluster: create(cluster, placed_on="node2"))
    assert set(refused) == {"ensure_network", "ensure_blob", "ensure_router", "ensure_instance"}


def test_repeated_undo_is_harmless(served):
    assert repeated_undo_is_harmless(served, create, "ensure_instance").state == "failed"

"""Placement's pure half, without a database: filters, reasons, rank (SC-*)."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfweb.domain.placement import BEST, Offer, Room, candidates, in_order, refusal


def offer(name="n1", **more):
    values = {
        "node": uuid.uuid4(),
        "name": name,
        "state": "created",
        "cordoned": False,
        "silent": False,
        "largest_cpus": 8,
        "limit": Room(cpus=10, memory_mb=1000, disk_gb=100),
        "used": Room(cpus=0, memory_mb=0, disk_gb=0),
    }
    return Offer(**{**values, **more})


WANTED = Room(cpus=2, memory_mb=100, disk_gb=10)


@pytest.mark.parametrize(
    ("more", "stage", "transient"),
    [
        ({"state": "missing"}, "node_state", False),
        ({"state": "initial"}, "node_state", False),
        ({"silent": True}, "node_state", False),
        ({"cordoned": True}, "is_hypervisor", False),
        ({"largest_cpus": 1}, "cpu_max_per_instance", False),
        ({"used": Room(cpus=9, memory_mb=0, disk_gb=0)}, "sufficient_idle_cpu", True),
        ({"used": Room(cpus=0, memory_mb=901, disk_gb=0)}, "sufficient_idle_memory", True),
        ({"used": Room(cpus=0, memory_mb=0, disk_gb=91)}, "sufficient_free_disk", True),
    ],
)
def test_sc_14_each_rejection_has_its_stage(more, stage, transient):
    fit, rejected = candidates([offer(**more)], WANTED)
    assert fit == []
    assert (rejected[0].stage, rejected[0].transient) == (stage, transient)


def test_sc_20_the_refusal_names_the_furthest_stage_and_how_much_is_missing():
    offers = [offer("full", used=Room(cpus=9, memory_mb=0, disk_gb=0)), offer("off", state="missing")]
    error = refusal(candidates(offers, WANTED)[1])
    assert (error.stage, error.transient) == ("sufficient_idle_cpu", True)
    assert error.details["nodes"][-1] == {
        "node": "full",
        "stage": "sufficient_idle_cpu",
        "limit": 10,
        "used": 9,
        "asked": 2,
        "short_by": 1,
    }


def test_sc_10_no_node_at_all_says_so():
    assert refusal([]).stage == "is_hypervisor"


def test_the_freest_by_its_scarcest_share_comes_first():
    crowded_disk = offer("disk", used=Room(cpus=0, memory_mb=0, disk_gb=80))
    crowded_cpu = offer("cpu", used=Room(cpus=5, memory_mb=0, disk_gb=0))
    fit, _ = candidates([crowded_disk, crowded_cpu, offer("free")], WANTED)
    assert [each.name for each in fit] == ["free", "cpu", "disk"]


def test_simultaneous_creates_do_not_all_rush_to_one_node():
    fit, _ = candidates([offer(f"n{number}") for number in range(6)], WANTED)
    firsts = {in_order(fit)[0].name for _ in range(200)}
    assert firsts == {each.name for each in fit[:BEST]}


@given(
    used=st.lists(st.tuples(*[st.integers(0, 20)] * 3), max_size=8),
    wanted=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 12)),
)
def test_every_node_is_either_a_candidate_with_room_or_rejected_with_a_reason(used, wanted):
    room = Room(cpus=wanted[0], memory_mb=wanted[1], disk_gb=wanted[2])
    limit = Room(cpus=10, memory_mb=10, disk_gb=10)
    offers = [
        offer(str(number), limit=limit, largest_cpus=10, used=Room(cpus=cpus, memory_mb=memory, disk_gb=disk))
        for number, (cpus, memory, disk) in enumerate(used)
    ]
    fit, rejected = candidates(offers, room)
    assert len(fit) + len(rejected) == len(offers)
    for each in fit:
        assert each.used.cpus + room.cpus <= 10
        assert each.used.memory_mb + room.memory_mb <= 10
        assert each.used.disk_gb + room.disk_gb <= 10

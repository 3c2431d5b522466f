"""Placement's pure half, without a database: filters, reasons, rank, affinity (SC-*, AF-*)."""

import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfweb.domain.affinity import Affinity, affinity_of, parse
from sfweb.domain.placement_rules import BEST, Around, Asked, Offer, Room, candidates, choose, in_order, refusal
from sfweb.errors import Conflict, Invalid, NoCapacity, NotFound

MINE, THEIRS = uuid.uuid4(), uuid.uuid4()


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


WANTED = Asked(room=Room(cpus=2, memory_mb=100, disk_gb=10))


def asked(affinity=None, tags=(), **more):
    return Asked(room=WANTED.room, namespace=MINE, tags=frozenset(tags), affinity=parse(affinity or {}), **more)


@pytest.mark.parametrize(
    ("more", "stage", "transient"),
    [
        ({"state": "missing"}, "node_state", False),
        ({"state": "initial"}, "node_state", False),
        ({"silent": True}, "node_state", False),
        ({"cordoned": True}, "is_hypervisor", False),
        ({"known": False}, "capacity_unknown", False),
        ({"largest_cpus": 1}, "cpu_max_per_instance", False),
        ({"used": Room(cpus=9, memory_mb=0, disk_gb=0)}, "sufficient_idle_cpu", True),
        ({"used": Room(cpus=0, memory_mb=901, disk_gb=0)}, "sufficient_idle_memory", True),
        ({"used": Room(cpus=0, memory_mb=0, disk_gb=91)}, "sufficient_free_disk", True),
        ({"lost": True}, "capacity_guard", True),
    ],
)
def test_sc_14_each_rejection_has_its_stage(more, stage, transient):
    fit, rejected = candidates([offer(**more)], WANTED)
    assert fit == []
    assert (rejected[0].stage, rejected[0].transient) == (stage, transient)


def test_sc_20_sc_25_the_refusal_names_the_furthest_stage_and_every_dimension_of_every_node():
    crowded = offer("full", used=Room(cpus=9, memory_mb=0, disk_gb=95))
    error = refusal(candidates([crowded, offer("off", state="missing")], WANTED)[1])
    assert (error.stage, error.transient) == ("sufficient_idle_cpu", True)
    assert error.details["nodes"][-1] == {
        "node": "full",
        "stage": "sufficient_idle_cpu",
        "dimensions": {
            "cpus_per_instance": {"limit": 8, "used": 0, "asked": 2, "short_by": 0, "exceeded": False},
            "cpus": {"limit": 10, "used": 9, "asked": 2, "short_by": 1, "exceeded": True},
            "memory_mb": {"limit": 1000, "used": 0, "asked": 100, "short_by": 0, "exceeded": False},
            "disk_gb": {"limit": 100, "used": 95, "asked": 10, "short_by": 5, "exceeded": True},
        },
    }
    assert error.details["nodes"][0]["cause"] == "it is missing"


@pytest.mark.parametrize(("skew", "named"), [(0.5, False), (-7000.0, True)])
def test_sc_15_a_clock_that_is_off_is_named_as_a_cause(skew, named):
    _, rejected = candidates([offer(silent=True, clock_skew=skew)], WANTED)
    assert ("clock is off by -7000 s" in rejected[0].cause) is named
    assert rejected[0].cause.startswith("it does not report")


def test_sc_10_no_node_at_all_says_so():
    assert refusal([]).stage == "is_hypervisor"


def test_the_freest_by_its_scarcest_share_comes_first():
    crowded_disk = offer("disk", used=Room(cpus=0, memory_mb=0, disk_gb=80))
    crowded_cpu = offer("cpu", used=Room(cpus=5, memory_mb=0, disk_gb=0))
    fit, _ = candidates([crowded_disk, crowded_cpu, offer("free")], WANTED)
    assert [each.offer.name for each in fit] == ["free", "cpu", "disk"]


def test_sc_16_a_copy_of_the_image_is_worth_a_little_room_and_no_more():
    image = uuid.uuid4()
    empty, near = offer("empty"), offer("near", used=Room(cpus=0, memory_mb=0, disk_gb=5))
    crowded = offer("crowded", used=Room(cpus=0, memory_mb=0, disk_gb=40))
    copies = Around(copies={near.node: frozenset([image]), crowded.node: frozenset([image])})
    wanted = Asked(room=WANTED.room, blobs=frozenset([image]))
    fit, _ = candidates([empty, near, crowded], wanted, copies)
    assert [each.offer.name for each in fit] == ["near", "empty", "crowded"]


def test_simultaneous_creates_do_not_all_rush_to_one_node():
    fit, _ = candidates([offer(f"n{number}") for number in range(6)], WANTED)
    firsts = {in_order(fit)[0].offer.name for _ in range(200)}
    assert firsts == {each.offer.name for each in fit[:BEST]}


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
    fit, rejected = candidates(offers, Asked(room=room))
    assert len(fit) + len(rejected) == len(offers)
    for each in fit:
        after = each.offer.used.plus(room)
        assert max(after.cpus, after.memory_mb, after.disk_gb) <= 10


# affinity


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"web": 3, "db": -0.0, "noisy": "-1"}, {"prefer_with_tag": {"web"}, "prefer_without_tag": {"noisy"}}),
        ({"require_with_tag": ["db", "db"]}, {"require_with_tag": {"db"}}),
        ({"require_without_tag": ["web"], "prefer_with_tag": []}, {"require_without_tag": {"web"}}),
        (
            {"prefer_without_tag": ["a"], "prefer_with_tag": ["b"]},
            {"prefer_without_tag": {"a"}, "prefer_with_tag": {"b"}},
        ),
    ],
)
def test_af_1_af_2_both_forms_are_understood_and_of_weights_only_the_sign(said, meant):
    by_weights = not any(name.startswith(("require", "prefer")) for name in said)
    expected = {name: frozenset(tags) for name, tags in meant.items()}
    assert affinity_of({"affinity": said}) == Affinity(**expected, by_weights=by_weights)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"require_with_tag": ["db"], "web": 1}, "mixes two forms"),
        ({"require_with_tag": "db"}, "should be a list of tags"),
        ({"prefer_with_tag": [1]}, "should be a list of tags"),
        ({"prefer_with_tag": [""]}, "should be a list of tags"),
        ({"prefer_with_tag": [str(n) for n in range(65)]}, "more than 64"),
        ({"web": "much"}, "should be an integer"),
        (["web"], "should be an object"),
    ],
)
def test_af_1_what_is_neither_form_is_refused(said, reason):
    with pytest.raises(Invalid, match=reason):
        parse(said)


def test_af_2_neighbours_are_wanted_or_not_and_each_counts():
    one, two, none = offer("one"), offer("two"), offer("none")
    there = Around(
        neighbours={
            (MINE, one.node): Counter({"web": 1}),
            (MINE, two.node): Counter({"web": 2}),
            (THEIRS, none.node): Counter({"web": 9}),
        }
    )
    near, _ = candidates([none, one, two], asked({"prefer_with_tag": ["web"]}), there)
    assert [each.offer.name for each in near] == ["two", "one", "none"], "a foreign neighbour is none"
    apart, _ = candidates([one, two, none], asked({"prefer_without_tag": ["web"]}), there)
    assert [each.offer.name for each in apart] == ["none", "one", "two"]


def test_af_3_affinity_outranks_room_and_chance_but_never_raises_a_limit():
    crowded = offer("crowded", used=Room(cpus=7, memory_mb=890, disk_gb=0))
    empty = [offer(f"empty{number}") for number in range(4)]
    there = Around(neighbours={(MINE, crowded.node): Counter({"web": 1})})
    wanted = asked({"prefer_with_tag": ["web"]})
    for _ in range(50):
        assert choose([*empty, crowded], [wanted], there)[0].name == "crowded"
        there.neighbours[MINE, crowded.node] = Counter({"web": 1})
    full = offer("full", used=Room(cpus=9, memory_mb=0, disk_gb=0))
    there = Around(neighbours={(MINE, full.node): Counter({"web": 1})})
    assert choose([full, *empty], [wanted], there)[0].name.startswith("empty")


def test_af_3_a_single_candidate_is_taken_whatever_is_preferred():
    only = offer("only")
    there = Around(neighbours={(MINE, only.node): Counter({"noisy": 5})})
    assert choose([only], [asked({"prefer_without_tag": ["noisy"]})], there)[0].name == "only"


def test_af_2_a_requirement_filters_and_one_that_no_node_meets_is_named():
    with_db, without = offer("with"), offer("without")
    there = Around(neighbours={(MINE, with_db.node): Counter({"db": 1})})
    assert choose([with_db, without], [asked({"require_with_tag": ["db"]})], there)[0].name == "with"
    assert choose([with_db, without], [asked({"require_without_tag": ["db"]})], there)[0].name == "without"
    with pytest.raises(Conflict, match="require_with_tag: cache") as caught:
        choose([with_db, without], [asked({"require_with_tag": ["db", "cache"]})], there)
    assert caught.value.code == "affinity_unsatisfiable"
    assert set(caught.value.details["constraints"]) == {"require_with_tag: db", "require_with_tag: cache"}


def test_af_2_where_the_right_node_is_full_waiting_can_help():
    full, other = offer("full", used=Room(cpus=9, memory_mb=0, disk_gb=0)), offer("other")
    there = Around(neighbours={(MINE, full.node): Counter({"db": 1})})
    with pytest.raises(NoCapacity) as caught:
        choose([full, other], [asked({"require_with_tag": ["db"]})], there)
    assert caught.value.transient
    assert {node["node"]: node["stage"] for node in caught.value.details["nodes"]} == {
        "full": "sufficient_idle_cpu",
        "other": "affinity",
    }


# batches


def test_sc_31_members_of_a_batch_see_each_other():
    offers = [offer(f"n{number}") for number in range(3)]
    apart = asked({"require_without_tag": ["web"]}, tags=["web"])
    chosen = choose(offers, [apart] * 3, Around(), batch=True)
    assert {each.name for each in chosen} == {"n0", "n1", "n2"}
    with pytest.raises(Conflict) as caught:
        choose(offers, [apart] * 4, Around(), batch=True)
    assert [one["index"] for one in caught.value.details["instances"]] == [3]


def test_af_2_the_first_of_a_group_must_be_seeded_and_the_seed_may_be_in_the_batch():
    offers = [offer(f"n{number}") for number in range(3)]
    member = asked({"require_with_tag": ["db"]}, tags=["db"])
    with pytest.raises(Conflict):
        choose(offers, [member] * 2, Around(), batch=True)
    chosen = choose(offers, [asked(tags=["db"]), member, member], Around(), batch=True)
    assert len({each.name for each in chosen}) == 1


def test_sc_30_a_batch_counts_what_its_members_take_together():
    small = [offer(f"n{number}", limit=Room(cpus=4, memory_mb=1000, disk_gb=100)) for number in range(2)]
    assert Counter(each.name for each in choose(small, [WANTED] * 4, Around(), batch=True)) == {"n0": 2, "n1": 2}
    with pytest.raises(NoCapacity) as caught:
        choose(small, [WANTED] * 6, Around(), batch=True)
    told = caught.value.details["instances"]
    assert [(one["index"], one["stage"], len(one["nodes"])) for one in told] == [
        (4, "sufficient_idle_cpu", 2),
        (5, "sufficient_idle_cpu", 2),
    ]


def test_sc_30_an_answer_about_many_nodes_tells_the_nearest_and_counts_the_rest():
    many = [offer(f"n{n:03}", used=Room(cpus=9, memory_mb=0, disk_gb=0)) for n in range(40)]
    off = [offer(f"off{n}", state="missing") for n in range(5)]
    with pytest.raises(NoCapacity) as caught:
        choose([*off, *many], [WANTED] * 2, Around(), batch=True)
    told = caught.value.details["instances"][0]
    assert told["stages"] == {"sufficient_idle_cpu": 40, "node_state": 5}
    assert {node["stage"] for node in told["nodes"]} == {"sufficient_idle_cpu"}


def test_sc_13_a_member_that_names_an_unknown_node_is_named():
    with pytest.raises(NotFound, match=r"instances\[1\]: node not found: n9"):
        choose([offer()], [WANTED, Asked(room=WANTED.room, placed_on="n9")], Around(), batch=True)

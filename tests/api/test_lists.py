"""Lists: filtered and ordered by the database, cut into pages that follow each other, never without an end (AQ-4, AQ-5)."""

import uuid
from typing import Any

import pytest
from django.db import OperationalError

from sfweb.api import lists
from sfweb.models import Artifact, Instance, Network
from sfweb.models.fields import FromNow
from sfweb.models.state import State
from tests.api import test_query_counts as grow
from tests.api.world import Person, World, make_artifact, make_instance, make_node

PAGED = [
    ("owner", "/instances"),
    ("owner", "/networks"),
    ("owner", "/artifacts"),
    ("owner", "/labels"),
    ("owner", "/snapshots"),
    ("owner", "/auth/namespaces"),
    ("owner", "/auth/namespaces/owner/keys"),
    ("owner", "/instances/INSTANCE/interfaces"),
    ("owner", "/instances/INSTANCE/agentoperations"),
    ("owner", "/instances/INSTANCE/snapshot"),
    ("owner", "/networks/NETWORK/interfaces"),
    ("owner", "/networks/NETWORK/addresses"),
    ("owner", "/artifacts/ARTIFACT/versions"),
    ("system", "/blobs"),
    ("system", "/nodes"),
    ("system", "/admin/reservations"),
]


def fill(world: World) -> None:
    """Several of everything that is listed."""
    for name in ("instances", "networks", "artifacts", "nodes", "namespaces", "interfaces", "addresses", "versions"):
        getattr(grow, f"grow_{name}")(world, 0, 4)
    for name in ("snapshots", "agent_operations", "reservations"):
        getattr(grow, f"grow_{name}")(world, 0, 4)
    for number in range(3):
        row = make_artifact(world.owner, f"l{number}", world.blob)
        Artifact.objects.filter(pk=row.pk).update(kind="label")


def pages(person: Person, path: str) -> list[list[Any]]:
    """Every page, followed by its Link header."""
    found = []
    while path:
        answer = person.get(path)
        found.append(answer.json())
        path = answer["Link"].partition(">")[0].removeprefix("<http://testserver") if "Link" in answer else ""
    return found


@pytest.mark.parametrize(("who", "path"), PAGED)
def test_aq_4_pages_follow_each_other_without_gap_or_repeat(world: World, who: str, path: str):
    fill(world)
    for name in ("instance", "network", "artifact"):
        path = path.replace(name.upper(), str(getattr(world, name).uuid))
    person = world.person(who)
    whole = person.get(path).json()
    cut = pages(person, f"{path}?limit=2")
    assert [row for page in cut for row in page] == whole
    assert all(len(page) == 2 for page in cut[:-1]) and len(cut) == (len(whole) + 1) // 2
    assert person.get(f"{path}?limit={len(whole)}").headers.get("Link") is None, "there is nothing more"
    assert person.get(f"{path}?offset=1").json() == whole[1:]


def test_aq_5_no_list_is_without_an_end(world: World, monkeypatch: pytest.MonkeyPatch):
    """One row more than a list may have: the list is cut, says so, and the rest is behind the Link."""
    monkeypatch.setattr(lists, "MOST_ROWS", 3)
    for number in range(4):
        make_instance(world.owner, f"i{number}", world.node)
    assert [len(page) for page in pages(world.person("owner"), "/instances")] == [3, 2]


def test_aq_5_a_page_keeps_its_filters_and_order(owner: Person, world: World):
    for number in range(4):
        make_instance(world.owner, f"i{number}", world.node)
    cut = pages(owner, "/instances?limit=3&order=-name&state=created")
    assert [row["name"] for page in cut for row in page] == ["one", "i3", "i2", "i1", "i0"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=one", ["one"]),
        ("name=On", []),
        ("state=error", ["broken"]),
        ("state=deleted", ["gone"]),
        ("namespace=owner", ["one", "old", "broken"]),
        ("namespace=system", []),
        ("node=n2", ["old"]),
        ("created_before=PAST", ["old"]),
        ("created_after=PAST", ["one", "broken"]),
        ("order=name", ["broken", "old", "one"]),
        ("order=-created", ["broken", "one", "old"]),
        ("node=n1&order=-name&limit=1", ["one"]),
    ],
)
def test_sq_2_filters_of_instances(owner: Person, world: World, query: str, names: list[str]):
    old = make_instance(world.owner, "old", make_node("n2"))
    for name, state in (("broken", State.ERROR), ("gone", State.DELETED)):
        Instance.objects.filter(pk=make_instance(world.owner, name, world.node).pk).update(state=state)
    Instance.objects.filter(pk=old.pk).update(created_at=FromNow(-86400))
    created = Instance.objects.get(name="one").created_at.timestamp()
    found = [row["name"] for row in owner.get(f"/instances?{query.replace('PAST', str(created - 3600))}").json()]
    assert found == names if "order" in query else sorted(found) == sorted(names)


@pytest.mark.parametrize(
    ("who", "query", "number"),
    [
        ("owner", "/networks?name=net", 1),
        ("owner", "/networks?name=none", 0),
        ("owner", "/networks?state=error", 1),
        ("owner", "/artifacts?artifact_type=snapshot", 1),
        ("owner", "/artifacts?name=image&state=created", 1),
        ("owner", "/artifacts?namespace=other", 0),
        ("owner", "/snapshots?state=error", 0),
        ("owner", "/snapshots?namespace=owner", 1),
        ("owner", "/auth/namespaces?name=owner", 1),
        ("owner", "/networks/NETWORK/addresses?type=network", 1),
        ("owner", "/networks/NETWORK/addresses?type=deletion-halo", 0),
        ("system", "/nodes?name=n1", 1),
        ("system", "/nodes?state=missing", 0),
        ("system", "/blobs?state=error", 0),
        ("system", "/instances?namespace=owner", 1),
    ],
)
def test_sq_2_filters_of_the_others(world: World, who: str, query: str, number: int):
    Network.objects.create(namespace=world.owner, name="bad", state=State.ERROR, netblock="10.3.0.0/24", vni=8)
    query = query.replace("NETWORK", str(world.network.uuid))
    assert len(world.person(who).get(query).json()) == number


def test_sq_3_a_filter_that_fits_nothing_is_not_left_out(owner: Person, world: World):
    assert owner.get("/instances", {"name": str(uuid.uuid4())}).json() == []
    assert owner.get("/instances", {"name": None}).json() != [], "null is absent"
    assert owner.get("/operations", {"target_type": "instance", "target_uuid": str(uuid.uuid4())}).json() == []


def test_aq_2_a_row_of_a_list_is_what_the_object_says_of_itself(owner: Person, system: Person, world: World):
    """Batched reads and single ones give the same, but for what only one object's view has, or the audit of blobs."""
    for person, plural in ((owner, "instances"), (owner, "networks"), (owner, "artifacts"), (system, "blobs")):
        for row in person.get(f"/{plural}").json():
            alone = person.get(f"/{plural}/{row['uuid']}").json()
            assert plural != "blobs" or row.pop("blobs")
            assert {**alone, **row} == alone
            assert set(alone) - set(row) <= {"last_cluster_operation"}


def test_sq_7_what_others_have_does_not_use_up_a_page(owner: Person, other: Person, world: World):
    """Whether a row may be seen is asked where it is cut, so that pages are full and nothing is read for nobody."""
    for number in range(6):
        make_artifact(world.other, f"hidden{number}", world.blob)
    shared = [make_artifact(world.system, f"shared{number}", world.blob) for number in range(2)]
    Artifact.objects.filter(pk__in=[row.pk for row in shared]).update(shared=True)
    found = owner.get("/artifacts?limit=3&order=-created").json()
    assert {str(row.uuid) for row in shared} < {row["uuid"] for row in found} and len(found) == 3
    assert all(row["namespace"] != "other" for row in found)
    assert len(other.get("/artifacts?limit=8").json()) == 8


@pytest.mark.parametrize(("who", "path"), PAGED[:6])
def test_sq_8_a_list_that_cannot_be_read_is_no_empty_list(
    world: World, who: str, path: str, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_: Any) -> Any:
        raise OperationalError(2013, "Lost connection to server during query")

    monkeypatch.setattr(lists, "_cut", gone)
    answer = world.person(who).get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")

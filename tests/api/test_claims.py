"""Quota claims: a ceiling and a guarantee for one namespace (CL-1 to CL-5)."""

from typing import Any

import pytest

from sftasks.reconcilers import hard_deletes
from sfweb.domain import claims
from sfweb.models import ClusterCapacity, Event, EventObject, Instance, Namespace, NamespaceClaim, NodeCapacity
from sfweb.models.fields import FromNow
from tests.api.world import Person, World

CLAIMS = "/auth/namespaces/owner/claims"
SIZE = {"cpus": 4, "memory": 1024, "disk": 100}


@pytest.fixture
def small(world: World) -> World:
    """The node has 10 CPUs, of which the owner's instance uses one."""
    NodeCapacity.objects.update(
        limit_cpus=10, limit_memory_mb=4096, limit_disk_gb=200, used_cpus=1, used_memory_mb=256, used_disk_gb=8
    )
    return world


def create(person: Person, number: int = 1, **more: Any) -> Any:
    spec = {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]} | more
    return person.post("/instances/batch", {"instances": [spec] * number})


def used(claim: str) -> int:
    return NamespaceClaim.objects.get(pk=claim).used_cpus


def told(world: World) -> list[str]:
    uuids = EventObject.objects.filter(object_uuid=world.owner.pk).values_list("event_uuid", flat=True)
    return list(Event.objects.filter(uuid__in=uuids).order_by("at").values_list("message", flat=True))


def test_cl_1_cl_5_a_claim_is_made_shown_changed_and_deleted(system: Person, small: World):
    made = system.post(CLAIMS, SIZE).json()
    assert made["limit"] == {"cpus": 4, "memory_mb": 1024, "disk_gb": 100}
    assert made["used"] == {"cpus": 1, "memory_mb": 256, "disk_gb": 8}, "what is there moves in"
    assert (made["state"], made["coverage_state"]) == ("created", "active")
    assert made["expires_at"] - made["created_at"] == pytest.approx(86400, abs=5)
    path = f"{CLAIMS}/{made['uuid']}"
    assert system.get(path).json() == made
    assert ClusterCapacity.objects.get().claimed_cpus == 4
    changed = system.put(path, {"cpus": 6, "expires_in": 60}).json()
    assert (changed["limit"]["cpus"], changed["limit"]["memory_mb"]) == (6, 1024)
    assert changed["expires_at"] < made["expires_at"]
    assert ClusterCapacity.objects.get().claimed_cpus == 6
    gone = system.delete(path).json()
    assert (gone["state"], gone["coverage_state"]) == ("deleted", "expired")
    assert system.get(CLAIMS).json() == []
    assert [row["uuid"] for row in system.get(f"{CLAIMS}?all=true").json()] == [made["uuid"]]
    assert ClusterCapacity.objects.get().claimed_cpus == 0
    assert system.put(path, {"cpus": 6}).json()["code"] == "claim_deleted"
    assert [message.split(" by ")[0] for message in told(small)] == ["claim made", "claim changed", "claim deleted"]


def test_a_namespace_has_one_claim_at_a_time(system: Person, small: World):
    first = system.post(CLAIMS, SIZE).json()["uuid"]
    answer = system.post(CLAIMS, SIZE)
    assert (answer.status_code, answer.json()["code"]) == (409, "claim_exists")
    NamespaceClaim.objects.update(expires_at=FromNow(-1))
    second = system.post(CLAIMS, SIZE).json()["uuid"]
    assert first != second
    assert NamespaceClaim.objects.get(pk=first).state == "deleted"


def test_cl_2_the_cluster_promises_no_more_than_it_has(system: Person, other: Person, small: World):
    assert create(other, 3).status_code == 202
    answer = system.post(CLAIMS, SIZE | {"cpus": 8})
    assert (answer.status_code, answer.json()["details"]["stage"]) == (507, "namespace_claims")
    assert answer.json()["details"]["dimensions"]["cpus"] == {
        **{"limit": 10, "used": 3, "asked": 8, "own_use": 1, "short_by": 1},
    }
    assert not NamespaceClaim.objects.exists()
    path = f"{CLAIMS}/{system.post(CLAIMS, SIZE | {'cpus': 7}).json()['uuid']}"
    assert system.put(path, {"cpus": 8}).status_code == 507
    below = system.put(path, {"cpus": 0})
    assert (below.status_code, below.json()["code"]) == (409, "claim_below_use")
    assert system.put(path, {"cpus": 1}).status_code == 200
    assert system.post("/auth/namespaces/other/claims", {"cpus": 2, "memory": 1, "disk": 1}).status_code == 409


def test_cl_3_others_compete_for_what_is_not_claimed_and_the_claim_can_be_filled(
    system: Person, owner: Person, other: Person, small: World
):
    claim = system.post(CLAIMS, SIZE).json()["uuid"]
    answer = create(other, 7)
    assert (answer.status_code, answer.json()["details"]["stage"]) == (507, "namespace_claims")
    assert answer.json()["details"]["dimensions"]["cpus"] == {"limit": 7, "used": 1, "asked": 7, "short_by": 1}
    assert create(other, 6).status_code == 202
    assert create(other).status_code == 507
    assert create(owner, 3).status_code == 202
    assert used(claim) == 4
    assert NodeCapacity.objects.get().used_cpus == 10


def test_cl_4_cl_5_what_is_more_than_the_claim_is_refused_with_every_figure_and_told(
    system: Person, owner: Person, small: World
):
    claim = system.post(CLAIMS, SIZE).json()["uuid"]
    answer = create(owner, 4)
    assert (answer.status_code, answer.json()["code"]) == (403, "claim_exceeded")
    assert answer.json()["details"]["claim"] == claim
    assert answer.json()["details"]["cpus"] == {"limit": 4, "used": 1, "asked": 4, "shortfall": 1}
    assert (used(claim), NodeCapacity.objects.get().used_cpus) == (1, 1)
    assert told(small)[-1] == "its claim was exceeded"
    grown = owner.post(f"/instances/{small.instance.uuid}/disks", {"size": 100})
    assert (grown.status_code, grown.json()["details"]["disk_gb"]["shortfall"]) == (403, 1)
    assert told(small).count("its claim was exceeded") == 2
    assert create(owner, 3).status_code == 202


def test_a_refused_create_may_be_repeated_with_its_key(system: Person, owner: Person, small: World):
    path = f"{CLAIMS}/{system.post(CLAIMS, SIZE | {'cpus': 1}).json()['uuid']}"
    spec = {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}
    assert owner.post("/instances", spec, idempotency_key="k").status_code == 403
    assert system.put(path, {"cpus": 2}).status_code == 200
    assert owner.post("/instances", spec, idempotency_key="k").status_code == 200


def test_cl_4_an_advisory_claim_only_tells(system: Person, owner: Person, small: World, settings: Any):
    settings.CLAIM_ENFORCEMENT = "advisory"
    claim = system.post(CLAIMS, SIZE).json()["uuid"]
    assert create(owner, 5).status_code == 202
    assert used(claim) == 6
    assert told(small)[-1] == "its claim was exceeded"


def test_cl_1_an_expired_claim_is_neither_floor_nor_ceiling(system: Person, owner: Person, other: Person, small: World):
    claim = system.post(CLAIMS, SIZE).json()["uuid"]
    NamespaceClaim.objects.update(expires_at=FromNow(-1))
    assert system.get(f"{CLAIMS}/{claim}").json()["coverage_state"] == "expired"
    assert create(owner, 4).status_code == 202
    assert create(other, 5).status_code == 202
    assert used(claim) == 1
    back = system.put(f"{CLAIMS}/{claim}", {"cpus": 5, "expires_in": 60})
    assert (back.status_code, back.json()["coverage_state"], back.json()["used"]["cpus"]) == (200, "active", 5)


def test_sc_6_a_claims_use_is_counted_again(system: Person, small: World):
    claim = system.post(CLAIMS, SIZE).json()["uuid"]
    NamespaceClaim.objects.update(used_cpus=3)
    assert claims.recount() == 1
    assert claims.recount() == 0
    assert used(claim) == 1
    assert told(small)[-1] == "its claim's use had drifted"


def test_cl_2_a_deleted_namespace_keeps_nothing(system: Person, other: Person, small: World):
    made = system.post("/auth/namespaces", {"namespace": "brief"})
    assert made.status_code == 200
    assert system.post("/auth/namespaces/brief/claims", {"cpus": 9, "memory": 64, "disk": 1}).status_code == 200
    assert create(other).status_code == 507
    assert system.delete("/auth/namespaces/brief").status_code == 200
    assert create(other).status_code == 202
    assert NamespaceClaim.objects.get().state == "deleted"
    Namespace.objects.filter(name="brief").update(deleted_at=FromNow(-86400))
    hard_deletes.run()
    assert not NamespaceClaim.objects.exists()


@pytest.mark.parametrize(
    "body",
    [{}, SIZE | {"cpus": -1}, SIZE | {"expires_in": 0}, SIZE | {"colour": 1}, SIZE | {"memory": "much"}],
)
def test_what_is_no_claim_is_refused(system: Person, small: World, body: dict[str, Any]):
    assert system.post(CLAIMS, body).status_code == 400
    assert not NamespaceClaim.objects.exists()
    assert Instance.objects.count() == 1

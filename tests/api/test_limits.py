"""What a namespace may have, as its owner sees it and `system` sets it (SE-12)."""

from typing import Any

import pytest

from sfweb.models import Event, Namespace
from tests.api.world import Person, World

LIMITS = "/auth/namespaces/owner/limits"


def test_se_12_the_owner_sees_each_ceiling_and_what_is_used_of_it(owner: Person, settings: Any):
    told = owner.get(LIMITS).json()
    assert set(told) == {"instances", "networks", "disk_gb", "uploads", "waiting_operations", "schedules"}
    assert told["uploads"] == {"limit": 20, "used": 1, "is_default": True}
    assert told["waiting_operations"] == {"limit": 200, "used": 1, "is_default": True}
    assert told["instances"]["limit"] == settings.NAMESPACE_MAX_INSTANCES


def test_se_12_system_sets_the_whole_set(system: Person, owner: Person):
    told = system.put(LIMITS, {"networks": 1, "instances": 5}).json()
    assert told["networks"] == {"limit": 1, "used": 1, "is_default": False}
    answer = owner.post("/networks", {"name": "more", "netblock": "10.7.0.0/24"})
    assert answer.status_code == 507
    assert answer.json()["code"] == "namespace_limit"
    assert answer.json()["details"] == {"stage": "namespace_networks", "limit": 1, "used": 1, "asked": 1}
    assert "1 of at most 1 networks" in answer.json()["error"]
    assert system.put(LIMITS, {"instances": 5}).json()["networks"]["is_default"] is True
    assert owner.post("/networks", {"name": "more", "netblock": "10.7.0.0/24"}).status_code == 200
    event = Event.objects.filter(message__startswith="limits set").order_by("at").first()
    assert event is not None
    assert event.extra == {"networks": 1, "instances": 5}


def test_too_many_waiting_operations_pass_by_themselves(system: Person, owner: Person):
    system.put(LIMITS, {"waiting_operations": 1})
    answer = owner.post("/networks", {"name": "more", "netblock": "10.7.0.0/24"})
    assert answer.status_code == 507
    assert answer["Retry-After"] == "15"


def test_system_has_none_unless_it_sets_some(system: Person):
    told = system.get("/auth/namespaces/system/limits").json()
    assert {figures["limit"] for figures in told.values()} == {None}


@pytest.mark.parametrize(
    "body", [{"instances": -1}, {"instances": "many"}, {"instances": True}, {"disk_gb": 10**7}, {"guests": 1}], ids=str
)
def test_iv_1_limits_that_make_no_sense_change_nothing(system: Person, world: World, body: dict[str, Any]):
    system.put(LIMITS, {"networks": 9})
    assert system.put(LIMITS, body).status_code == 400
    assert Namespace.objects.get(name="owner").limits == {"networks": 9}

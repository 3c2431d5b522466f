"""What a node says of its guests' agents becomes columns of its own instances, and of no others."""

import pytest

from sfweb.domain import guest_agents
from sfweb.models import Instance
from tests.api.world import World, make_instance, make_node

SINCE, BOOTED = 1_700_000_100.0, 1_700_000_000.5


@pytest.fixture
def world(db) -> World:
    return World()


def test_an_agent_comes_and_goes(world: World):
    instance = world.instance
    guest_agents.take(world.node, {str(instance.pk): {"since": SINCE, "booted": BOOTED}})
    instance.refresh_from_db()
    assert instance.agent_state == "ready"
    assert instance.agent_started_at.timestamp() == SINCE
    assert instance.agent_system_booted_at.timestamp() == BOOTED
    guest_agents.take(world.node, {})
    instance.refresh_from_db()
    assert (instance.agent_state, instance.agent_started_at) == ("not ready (no contact)", None)


def test_se_4_claims_about_other_nodes_guests_change_nothing(world: World):
    elsewhere = make_instance(world.owner, "two", make_node("n2"))
    Instance.objects.filter(pk=elsewhere.pk).update(agent_state="not ready (no contact)")
    guest_agents.take(world.node, {str(elsewhere.pk): {"since": SINCE}, "no uuid": 5})
    elsewhere.refresh_from_db()
    assert elsewhere.agent_state == "not ready (no contact)"


@pytest.mark.parametrize("since", [None, True, "soon", 1e300, float("nan"), float("inf"), -1e300, []])
def test_a_moment_that_no_clock_shows_is_none(world: World, since: object):
    guest_agents.take(world.node, {str(world.instance.pk): {"since": since, "booted": since}})
    world.instance.refresh_from_db()
    assert (world.instance.agent_state, world.instance.agent_started_at) == ("ready", None)

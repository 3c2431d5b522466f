"""NH-1: a node whose storage failed its probe takes nothing new until an operator says that it is mended."""

import pytest

from sftasks.operations import instance_create, instance_delete, instance_migrate
from sftasks.reconcilers import node_objects
from sfweb.domain import carriers, node_life, storage
from sfweb.errors import Conflict, NoCapacity
from sfweb.models import CarrierLease, Event, Instance, Node
from sfweb.models.fields import FromNow
from tests.factories import new_instance


@pytest.fixture
def failing(guest):
    """The node that the guest is on has told that its storage failed."""
    guest.home.host.broken_storage["instances"] = "Input/output error"
    guest.run(guest.home.report)
    return guest


def row(cluster) -> Node:
    return Node.objects.get(pk=cluster.home.pk)


def test_nh_1_it_is_in_error_with_the_reason_and_takes_nothing_new(failing):
    assert (row(failing).state, row(failing).error_message) == ("error", "storage of instances: Input/output error")
    with pytest.raises(NoCapacity) as refused:
        wanted = new_instance("second", "tenant", placed_on=failing.home.name)
        failing.ask(instance_create.request, failing.caller, wanted)
    assert refused.value.details["nodes"][0]["stage"] == "node_state"
    assert failing.home.pk not in storage.reporting_nodes().values_list("pk", flat=True)
    assert failing.home.pk not in [node.pk for node in carriers.eligible()]


def test_nh_1_it_is_told_once_with_what_is_on_it(failing):
    failing.run(failing.home.report)
    told = Event.objects.get(message="node is in error: its storage failed")
    assert told.extra["instances"] == [str(failing.instance.pk)]
    assert Event.objects.filter(message__contains="which it is on, failed its probe").count() == 1


def test_nh_1_what_is_there_is_served_on_and_can_be_moved_away_or_deleted(failing):
    CarrierLease.objects.update(expires_at=FromNow(1))
    failing.run(failing.home.report)
    assert not CarrierLease.objects.filter(node=failing.home.pk, expires_at__lt=FromNow(10)).exists()
    failing.home.host.end_domain(str(failing.instance.pk), "crashed")
    for _ in range(2):
        failing.run(failing.home.report, with_inventory=True)
        failing.run(node_objects.run)
        failing.settle()
    assert failing.home.host.domain(str(failing.instance.pk)) is not None
    failing.ask(instance_migrate.request, failing.caller, failing.instance)
    failing.settle()
    assert Instance.objects.get(pk=failing.instance.pk).node_id != failing.home.pk
    failing.ask(instance_delete.request, failing.caller, failing.instance)
    failing.settle()
    assert failing.findings() == []


def test_nh_1_only_an_operator_clears_it_and_not_while_it_fails(failing):
    with pytest.raises(Conflict) as refused:
        failing.run(node_life.clear_error, row(failing), "system/k")
    assert refused.value.code == "node.storage"
    failing.home.host.broken_storage.clear()
    failing.run(failing.home.report)
    assert row(failing).state == "error"
    failing.run(node_life.clear_error, row(failing), "system/k")
    assert (row(failing).state, row(failing).error_message) == ("created", None)
    with pytest.raises(Conflict) as refused:
        failing.run(node_life.clear_error, row(failing), "system/k")
    assert refused.value.code == "node.no_error"


def test_nh_1_the_error_outlives_an_absence(failing):
    Node.objects.filter(pk=failing.home.pk).update(last_seen=FromNow(-3600))
    failing.run(node_life.mark_missing, lambda: None)
    assert row(failing).state == "missing"
    failing.home.host.broken_storage.clear()
    failing.run(failing.home.report)
    assert row(failing).state == "error"


@pytest.mark.parametrize("claim", [None, "all", ["blobs"], {"elsewhere": "x"}, {"blobs": ""}])
def test_se_4_a_claim_that_makes_no_sense_is_none(guest, claim, monkeypatch):
    monkeypatch.setattr(guest.home.host, "probe_storage", lambda: claim)
    guest.run(guest.home.report)
    assert row(guest).state == "created"

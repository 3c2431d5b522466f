"""namespace_cleans: asks once for each delete, a page at a time, and ends with the cause of one that failed."""

import pytest

from sftasks import engine, parents
from sftasks.operations import instance_create, instance_delete, namespace_clean
from sftasks.reconcilers import namespace_cleans
from sfweb.models import Instance, Namespace, Operation, OperationDependency
from sfweb.models.state import State
from tests.factories import new_instance


@pytest.fixture
def cleaning(guest):
    """A namespace with two instances that is being emptied."""
    guest.ask(instance_create.request, guest.caller, new_instance("second", "tenant", "net"))
    guest.settle()
    guest.clean = guest.ask(namespace_clean.request, guest.caller, Namespace.objects.get(name="tenant")).operation
    return guest


def test_each_delete_is_asked_for_once_and_waited_for(cleaning):
    assert cleaning.run(namespace_cleans.run) == {"asked": 2}
    assert cleaning.run(namespace_cleans.run) == {"asked": 0}
    asked = Operation.objects.filter(kind="instance_delete")
    assert asked.count() == 2
    assert {row.requested_by for row in asked} == {"tenant/test"}
    edges = OperationDependency.objects.filter(operation=cleaning.clean)
    assert set(edges.values_list("needs_id", flat=True)) == {row.pk for row in asked}


def test_a_page_at_a_time(cleaning, monkeypatch):
    monkeypatch.setattr(parents, "PAGE", 1)
    assert cleaning.run(namespace_cleans.run) == {"asked": 1}
    assert cleaning.run(namespace_cleans.run) == {"asked": 1}
    assert cleaning.run(namespace_cleans.run) == {"asked": 0}


def test_nothing_more_is_deleted_once_it_was_cancelled_within_a_page(cleaning, monkeypatch):
    genuine = instance_delete.request

    def request(caller, row):
        engine.cancel(cleaning.clean.pk, cleaning.caller)
        return genuine(caller, row)

    monkeypatch.setitem(namespace_cleans.DELETES, "instances", request)
    assert cleaning.run(namespace_cleans.run) == {"asked": 1}
    assert Operation.objects.filter(kind="instance_delete").count() == 1


def test_what_somebody_deleted_already_is_joined_or_left_out(cleaning):
    gone = cleaning.ask(instance_delete.request, cleaning.caller, cleaning.instance).operation
    assert cleaning.run(namespace_cleans.run) == {"asked": 2}
    assert Operation.objects.filter(kind="instance_delete").count() == 2
    cleaning.settle(rounds=10)
    assert Operation.objects.get(pk=gone.pk).state == "succeeded"


def test_a_delete_that_died_between_asking_and_waiting_is_found_again(cleaning, monkeypatch):
    with monkeypatch.context() as died:
        died.setattr(parents, "wait_for", lambda *_: None)
        cleaning.run(namespace_cleans.run)
    assert cleaning.run(namespace_cleans.run) == {"asked": 2}
    assert Operation.objects.filter(kind="instance_delete").count() == 2


def test_one_that_cannot_be_deleted_ends_it_with_the_cause(cleaning):
    cleaning.run(namespace_cleans.run)
    failing = Operation.objects.filter(kind="instance_delete").first()
    cleaning.run(engine.advance, failing.pk)
    failing.refresh_from_db()
    cleaning.run(lambda: engine.end(failing, "failed", "disk.busy", "the disk is busy"))
    row = Operation.objects.get(pk=cleaning.clean.pk)
    assert (row.state, row.error_code, row.error_message) == ("cancelled", "dependency.failed", "the disk is busy")
    assert cleaning.run(namespace_cleans.run) == {"asked": 0}
    again = cleaning.ask(namespace_clean.request, cleaning.caller, Namespace.objects.get(name="tenant")).operation
    assert cleaning.run(namespace_cleans.run)["asked"] == 2
    cleaning.settle(rounds=10)
    assert Instance.objects.exclude(state=State.DELETED).count() == 0
    assert Operation.objects.get(pk=again.pk).state == "waiting", "networks and artifacts are next"

"""Which operation runs when: joining, order, superseding, dependencies, cancelling (EN-5, EN-6, EN-7, EN-14, EN-20, CO-*)."""

import pytest

from sftasks import engine, explain, sweep
from sftasks.operations import artifact_fetch, instance_create, instance_delete, instance_power, network_delete
from sfweb.domain.specs import NewArtifact
from sfweb.errors import Conflict, NotFound, NotReady
from sfweb.models import Event, EventObject, Instance, NodeObject, Operation, OperationTarget, Step
from tests.factories import new_instance


def fetch(cluster, url="https://images.example.org/big.qcow2"):
    return cluster.ask(artifact_fetch.request, cluster.caller, NewArtifact(url=url, namespace="tenant"))


def power(cluster, verb):
    return cluster.ask(instance_power.request, cluster.caller, cluster.instance, verb)


def state_of(operation):
    return Operation.objects.get(pk=operation.pk).state


def test_en_5_a_running_operation_is_never_joined_it_gets_one_waiting_successor(guest):
    first = power(guest, "poweroff").operation
    second = power(guest, "poweron").operation
    third = power(guest, "poweroff").operation
    assert first.pk != second.pk
    assert third.pk == second.pk
    assert Operation.objects.get(pk=second.pk).joined == 1
    guest.settle()
    guest.instance.refresh_from_db()
    assert (state_of(first), state_of(second), guest.instance.observed_power) == ("succeeded", "succeeded", "off")


def test_co_11_en_7_at_most_one_runs_and_one_waits_for_each_key(guest):
    for verb in ("poweroff", "poweron", "pause", "unpause", "poweroff") * 3:
        try:
            power(guest, verb)
        except Conflict:
            continue
    rows = Operation.objects.filter(object_key=f"instance:{guest.instance.pk}", kind="instance_power")
    assert rows.filter(state="running").count() == 1
    assert rows.filter(state="waiting").count() == 1


def test_en_20_many_starts_on_one_network_join_into_few_carrier_updates(served):
    for number in range(12):
        served.ask(instance_create.request, served.caller, new_instance(f"guest{number}", "tenant", "net"))
    served.settle()
    assert Instance.objects.filter(state="created").count() == 12
    updates = Operation.objects.filter(kind="router_on_node", object_key__startswith="router:").count()
    assert updates <= 4, f"{updates} updates of one carrier for 12 starts"


def test_en_1_an_instance_that_fails_does_not_take_its_neighbours_network_away(guest):
    from nodeagent.host import Refused

    guest.home.host.fail_next("create_disk", Refused("disk.full"))
    bad = guest.ask(
        instance_create.request, guest.caller, new_instance("other", "tenant", "net", placed_on=guest.home.name)
    )
    guest.settle()
    assert Instance.objects.get(pk=bad.row.pk).state == "error"
    assert str(guest.network.pk) in guest.home.host.inventory().networks
    assert guest.findings() == []


def test_en_20_dependents_of_a_failed_fetch_end_with_dependency_failed_and_give_everything_back(served):
    from nodeagent.host import Refused

    for node in served.nodes:
        node.host.serve("https://images.example.org/tiny.qcow2", Refused("fetch.not_found", "404"))
    accepted = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))
    served.settle()
    operation = Operation.objects.get(pk=accepted.operation.pk)
    assert (operation.state, operation.error_code) == ("cancelled", "dependency.failed")
    assert (
        "fetch.not_found" in Instance.objects.get(pk=accepted.row.pk).error_message or "404" in operation.error_message
    )
    assert served.findings() == []


def test_en_20_the_second_node_waits_for_the_first_fetch_and_copies(served):
    for name in ("node1", "node2"):
        served.ask(instance_create.request, served.caller, new_instance(name, "tenant", "net", placed_on=name))
    served.settle()
    sources = [
        step.request["request"]["spec"]["source"]
        for step in Step.objects.filter(action="ensure_blob").order_by("finished_at")
    ]
    assert [bool(source["url"]) for source in sources] == [True, False]
    assert served.findings() == []


def test_en_14_a_delete_supersedes_a_waiting_create_and_ends_with_nothing(served):
    accepted = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))
    delete = served.ask(instance_delete.request, served.caller, accepted.row)
    assert state_of(accepted.operation) == "cancelled"
    served.settle()
    assert (state_of(delete.operation), Instance.objects.get(pk=accepted.row.pk).state) == ("succeeded", "deleted")
    assert not NodeObject.objects.filter(object_type="instance").exists()
    assert served.findings() == []


def test_en_14_a_delete_asks_a_running_create_to_stop(served):
    accepted = served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net"))
    served.until(accepted.operation, "running")
    delete = served.ask(instance_delete.request, served.caller, accepted.row)
    served.settle()
    assert (state_of(accepted.operation), state_of(delete.operation)) == ("cancelled", "succeeded")
    assert served.findings() == []


def test_en_14_a_delete_that_is_asked_for_twice_is_one_operation(guest):
    first = guest.ask(instance_delete.request, guest.caller, guest.instance)
    second = guest.ask(instance_delete.request, guest.caller, guest.instance)
    assert first.operation.pk == second.operation.pk
    guest.settle()
    with pytest.raises(NotFound):
        guest.ask(instance_delete.request, guest.caller, guest.instance)


def test_en_14_cancelling_what_waits_ends_it_and_what_others_joined_cannot_be(guest):
    power(guest, "poweroff")
    waiting = power(guest, "poweron").operation
    power(guest, "poweron")
    with pytest.raises(Conflict, match="others wait"):
        guest.run(engine.cancel, waiting.pk, guest.caller)
    fetching = fetch(guest).operation
    assert guest.run(engine.cancel, fetching.pk, guest.caller).state == "cancelled"


def test_en_14_what_the_clock_made_is_not_a_users_to_cancel(guest):
    from sftasks.plans import instances
    from sfweb.domain.callers import CLUSTER
    from sfweb.domain.transactions import durable

    submit = durable(lambda: engine.submit(instances.on_node(guest.instance, CLUSTER)))
    operation = guest.run(submit)
    with pytest.raises(Conflict):
        guest.run(engine.cancel, operation.pk, guest.caller)


def test_nw_7_a_network_in_use_goes_when_its_last_interface_has_gone(guest):
    accepted = guest.ask(network_delete.request, guest.caller, guest.network)
    guest.settle(rounds=5)
    assert state_of(accepted.operation) == "waiting"
    assert "1 interfaces still use" in explain.why(Operation.objects.get(pk=accepted.operation.pk))["sentence"]
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert state_of(accepted.operation) == "succeeded"
    assert guest.findings() == []


def test_co_1_the_operation_its_targets_and_its_event_are_one_transaction(guest):
    accepted = power(guest, "poweroff")
    assert OperationTarget.objects.filter(operation=accepted.operation, target_type="instance").count() == 1
    told = EventObject.objects.filter(object_type="instance", object_uuid=guest.instance.pk).values("event_uuid")
    assert Event.objects.filter(uuid__in=told, message="instance_power requested", request_id="req-1").exists()


def test_a_refused_request_leaves_no_operation(served):
    before = Operation.objects.count()
    with pytest.raises(NotFound):
        served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "no-such-network"))
    with pytest.raises(NotFound):
        served.ask(instance_create.request, served.caller, new_instance("guest", "tenant", "net", placed_on="nowhere"))
    assert Operation.objects.count() == before


def test_pw_1_verbs_that_make_no_sense_are_conflicts(guest):
    power(guest, "poweroff")
    guest.settle()
    for verb in ("pause", "unpause", "rebootsoft"):
        with pytest.raises(Conflict):
            power(guest, verb)
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    with pytest.raises(NotReady):
        power(guest, "poweron")


def test_en_6_the_sweep_finds_what_a_dead_process_never_advanced(guest, monkeypatch):
    monkeypatch.setattr(engine, "after_commit", lambda *_: None)
    accepted = power(guest, "poweroff")
    assert state_of(accepted.operation) == "waiting"
    monkeypatch.undo()
    from sfweb.models.fields import FromNow

    Operation.objects.filter(pk=accepted.operation.pk).update(created_at=FromNow(-10))
    monkeypatch.setattr("sftasks.celery.ring", guest._ring)
    guest.run(sweep.sweep)
    guest.settle()
    assert state_of(accepted.operation) == "succeeded"

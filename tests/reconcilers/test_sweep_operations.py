"""sweep_operations: what a dead process left half done is advanced (EN-6)."""

from sftasks import engine, sweep
from sftasks.operations import instance_power
from sftasks.reconcilers import sweep_operations
from sfweb.models import Operation, OperationDependency, Step
from sfweb.models.fields import FromNow


def ask_and_die(cluster, monkeypatch, verb="poweroff"):
    """The process commits the wish and dies before it advances it."""
    genuine = engine.after_commit
    monkeypatch.setattr(engine, "after_commit", lambda *_: None)
    accepted = cluster.ask(instance_power.request, cluster.caller, cluster.instance, verb)
    monkeypatch.setattr(engine, "after_commit", genuine)
    Operation.objects.filter(pk=accepted.operation.pk).update(created_at=FromNow(-60))
    return accepted.operation


def test_en_6_a_waiting_operation_without_a_runner_is_started(guest, monkeypatch):
    operation = ask_and_die(guest, monkeypatch)
    counts = guest.run(sweep_operations.run)
    assert counts["advanced"] == 1
    assert Operation.objects.get(pk=operation.pk).state == "running"


def test_co_11_en_6_a_running_operation_without_an_open_step_goes_on(guest, monkeypatch):
    operation = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff").operation
    Step.objects.filter(operation=operation).update(state="done")
    guest.run(sweep_operations.run)
    assert Operation.objects.get(pk=operation.pk).state == "succeeded"


def test_a_planned_step_whose_time_has_come_is_rung(guest):
    operation = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff").operation
    guest.home.letters.clear()
    Step.objects.filter(operation=operation).update(state="planned", token=None, not_before=FromNow(-1))
    assert guest.run(sweep_operations.run)["rung"] == 1
    assert [message.action for message in guest.home.letters] == ["ensure_instance"]


def test_co_7_a_bounded_wait_ends(guest):
    blocker = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff").operation
    params = {"network": str(guest.network.pk)}
    waiting = Operation.objects.create(kind="network_create", object_key="network:x", params=params)
    OperationDependency.objects.create(operation=waiting, needs=blocker, wait_until=FromNow(-1))
    guest.run(sweep_operations.run)
    row = Operation.objects.get(pk=waiting.pk)
    assert (row.state, row.error_code) == ("cancelled", "dependency.timeout")


def test_ro_12_one_broken_operation_does_not_keep_the_others(guest, monkeypatch):
    operation = ask_and_die(guest, monkeypatch)
    broken = Operation.objects.create(kind="no_such_kind", object_key="x:y")
    Operation.objects.filter(pk=broken.pk).update(created_at=FromNow(-90))
    guest.run(sweep_operations.run)
    assert Operation.objects.get(pk=operation.pk).state == "running"


def test_a_pass_with_nothing_to_do_does_nothing(guest):
    assert set(guest.run(sweep_operations.run).values()) == {0}


def test_en_6_what_is_not_ready_fills_no_page_for_ever(guest, monkeypatch):
    """Deletes that wait for interfaces are older than the one that a dead process left."""
    for _ in range(2):
        Operation.objects.create(
            kind="network_delete", object_key=f"network:{guest.network.pk}", params={"network": str(guest.network.pk)}
        )
    left = ask_and_die(guest, monkeypatch)
    Operation.objects.filter(kind="network_delete").update(created_at=FromNow(-1000))
    monkeypatch.setattr(sweep, "PAGE", 1)
    for _ in range(60):
        guest.run(sweep.sweep)
    assert Operation.objects.get(pk=left.pk).state != "waiting"

"""What becomes of a step: lost, doubled, late, refused, unknown, stale, unsupported (EN-2, EN-3, EN-4, EN-8, EN-9)."""

import pytest

from nodeagent.host import Refused, Retry
from nodeagent.wire import Kind, Outcome
from sftasks import engine
from sftasks.operations import instance_create, instance_power
from sfweb.models import Event, Instance, NodeCapacity, Operation, Step
from sfweb.models.fields import FromNow
from tests.factories import new_instance


def create(cluster):
    return cluster.ask(instance_create.request, cluster.caller, new_instance("guest", "tenant", "net"))


def step_of(accepted, action="ensure_instance"):
    return Step.objects.get(operation=accepted.operation, action=action)


def state_of(accepted):
    return Operation.objects.get(pk=accepted.operation.pk).state


def test_en_3_en_4_a_lost_message_is_handed_out_again_byte_for_byte(guest):
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    sent = guest.home.letters[0]
    guest.lose_sent_messages()
    answer = guest.run(guest.home.report)
    assert answer.steps == (sent,)
    guest.settle()
    assert state_of(accepted) == "succeeded"
    assert Step.objects.get(operation=accepted.operation).attempt == 1


def test_en_4_a_message_that_the_report_lists_as_held_is_never_copied(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    message = guest.home.letters.pop()
    guest.home.journal.receive(message, bulk=False)
    Step.objects.filter(state="sent").update(sent_at=FromNow(-3600))
    answer = guest.run(guest.home.report)
    assert message.token in guest.home.journal.held()
    assert answer.steps == ()


def test_en_4_a_held_request_that_nobody_wants_any_more_is_dropped(guest):
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    message = guest.home.letters.pop()
    guest.home.journal.receive(message, bulk=False)
    Step.objects.filter(operation=accepted.operation).update(state="obsolete")
    guest.run(guest.home.report)
    assert guest.home.journal.held() == []
    assert guest.home.work() == 0


def test_en_4_nothing_is_sent_to_a_silent_node_and_it_says_so(guest):
    guest.home.row.__class__.objects.filter(pk=guest.home.pk).update(last_seen=FromNow(-100))
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    assert guest.home.letters == []
    step = Step.objects.get(operation=accepted.operation)
    assert (step.state, "silent since" in step.reason) == ("planned", True)
    guest.settle()
    assert state_of(accepted) == "succeeded"


def test_en_3_a_doubled_message_after_its_end_is_answered_from_the_journal(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    message = guest.home.letters[0]
    guest.settle()
    before = guest.effects()
    guest.home.performer.perform(message)
    assert guest.effects() == before
    assert [outcome.token for outcome in guest.home.outbox] == [message.token]


def test_en_1_a_late_outcome_changes_nothing_and_becomes_an_event(guest):
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    token = guest.home.letters[0].token
    guest.settle()
    late = Outcome(token=token, kind=Kind.REFUSED, code="too.late")
    assert guest.run(engine.settle, guest.home.pk, late).taken == 0
    assert state_of(accepted) == "succeeded"
    assert Event.objects.filter(message="late outcome ignored").exists()


def test_qp_9_en_9_a_transient_failure_is_a_new_attempt_with_a_new_token(served):
    for node in served.nodes:
        node.host.fail_next("start_domain", Retry("libvirt.busy"), times=2)
    accepted = create(served)
    served.settle()
    step = step_of(accepted)
    assert (state_of(accepted), step.attempt, step.failures) == ("succeeded", 3, 2)


def test_en_9_too_many_transient_failures_count_as_refused(served):
    for node in served.nodes:
        node.host.fail_next("start_domain", Retry("libvirt.busy"), times=50)
    accepted = create(served)
    served.settle()
    assert state_of(accepted) == "failed"
    assert Instance.objects.get(pk=accepted.row.pk).state == "error"
    assert served.findings() == []


def test_en_9_a_known_cause_unwinds_and_leaves_nothing(served):
    for node in served.nodes:
        node.host.fail_next("create_disk", Refused("disk.full", "no space"))
    accepted = create(served)
    served.settle()
    instance = Instance.objects.get(pk=accepted.row.pk)
    assert (state_of(accepted), instance.state) == ("failed", "error")
    assert instance.error_message.startswith("disk.full: no space; ")
    assert served.findings() == []
    assert sum(NodeCapacity.objects.values_list("used_cpus", flat=True)) == 0


def test_en_9_an_unknown_error_is_tried_once_more_and_then_parked_without_undoing_anything(served):
    for node in served.nodes:
        node.host.fail_next("start_domain", RuntimeError("monitor closed"), times=2)
    accepted = create(served)
    served.settle()
    instance = Instance.objects.get(pk=accepted.row.pk)
    assert (state_of(accepted), instance.state) == ("failed", "error")
    assert step_of(accepted).attempt == 2
    assert sum(NodeCapacity.objects.values_list("used_cpus", flat=True)) == 1
    assert all("remove" not in verb for node in served.nodes for verb, _ in node.host.effects)


def test_en_9_an_unlisted_refusal_is_unknown_and_deletes_nothing(served):
    for node in served.nodes:
        node.host.fail_next("start_domain", Refused("something.new"), times=2)
    accepted = create(served)
    served.settle()
    assert state_of(accepted) == "failed"
    assert sum(NodeCapacity.objects.values_list("used_cpus", flat=True)) == 1


def test_en_2_an_older_generation_is_stale_and_the_rows_move_above_the_node(guest):
    Instance.objects.filter(pk=guest.instance.pk).update(generation=1)
    known = guest.home.journal.known(f"instance:{guest.instance.pk}")
    guest.home.journal._run("UPDATE objects SET generation = 500")
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    guest.settle()
    guest.instance.refresh_from_db()
    assert known is not None
    assert (state_of(accepted), guest.instance.generation > 500) == ("succeeded", True)
    assert Step.objects.get(operation=accepted.operation).stales == 1


def test_en_2_an_equal_generation_is_applied_again(guest):
    message = Step.objects.get(operation__kind="instance_create").request
    guest.home.host.stop_domain(str(guest.instance.pk))
    Instance.objects.filter(pk=guest.instance.pk).update(observed_power="off")
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweron")
    guest.settle()
    assert message["generation"] < Step.objects.get(operation=accepted.operation).generation
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_en_2_a_request_for_another_journal_is_refused_by_the_node(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    (guest.home.directory / "journal.sqlite").unlink()
    guest.home.restart()
    guest.home.work()
    assert [(outcome.kind, outcome.code) for outcome in guest.home.outbox] == [("stale", "incarnation")]
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_en_18_an_agent_that_is_too_old_makes_the_step_wait_and_never_unwinds(served, monkeypatch):
    for node in served.nodes:
        row = node.row
        row.actions["ensure_instance"] = 0
        type(row).objects.filter(pk=row.pk).update(actions=row.actions)
    monkeypatch.setattr(type(served.nodes[0]), "report", lambda *_, **__: None)
    accepted = create(served)
    served.settle(rounds=10)
    step = step_of(accepted)
    assert (state_of(accepted), step.state) == ("running", "planned")
    assert "does not know ensure_instance" in step.reason


def test_co_12_en_8_a_reboot_that_was_interrupted_is_not_run_again(guest):
    guest.home.host.crash_after("reboot_domain")
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "reboothard")
    with pytest.raises(BaseException, match="reboot_domain"):
        guest.home.work()
    guest.home.restart()
    guest.settle()
    reboots = [effect for effect in guest.home.host.effects if effect[0] == "reboot_domain"]
    assert (state_of(accepted), len(reboots)) == ("failed", 1)
    assert Operation.objects.get(pk=accepted.operation.pk).error_code == "interrupted"


def test_co_12_en_15_a_repeatable_action_that_was_interrupted_runs_again(served):
    for node in served.nodes:
        node.host.crash_after("start_domain")
    accepted = create(served)
    home = next(node for node in served.nodes if node.pk == accepted.row.node_id)
    with pytest.raises(BaseException, match="start_domain"):
        for _ in range(20):
            for node in served.nodes:
                served.run(node.work)
                served.run(node.tell)
    home.restart()
    served.settle()
    starts = [effect for effect in home.host.effects if effect[0] == "start_domain"]
    assert (state_of(accepted), len(starts)) == ("succeeded", 1)


def test_en_10_a_busy_object_waits_without_an_outcome(guest):
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    message = guest.home.letters.pop()
    with guest.home.performer._lock(message.object_key) as locked:
        assert locked
        guest.home.performer.perform(message)
    assert guest.home.outbox == []
    assert guest.home.journal.held() == [message.token]
    guest.settle()
    assert state_of(accepted) == "succeeded"


def test_ga_9_a_port_that_a_stranger_has_rests_and_another_is_taken(served):
    for node in served.nodes:
        node.host.taken_ports = {30000, 30001, 30002}
    accepted = create(served)
    served.settle()
    instance = Instance.objects.get(pk=accepted.row.pk)
    assert instance.state == "created", instance.error_message
    assert not {instance.console_port, instance.vdi_port} & {30000, 30001, 30002}


def test_se_2_a_message_that_is_not_signed_by_the_nodes_key_is_dropped(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    message = guest.home.letters.pop()
    guest.home.performer.perform(message.signed("another key"))
    assert guest.home.journal.held() == []
    assert guest.home.host.domain(str(guest.instance.pk)).power == "on"


def test_se_4_a_node_settles_only_its_own_steps(guest):
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    token = guest.home.letters[0].token
    stranger = next(node for node in guest.nodes if node is not guest.home)
    assert guest.run(engine.settle, stranger.pk, Outcome(token=token, kind=Kind.DONE)).taken == 0
    assert Step.objects.get(token=token).state == "sent"


def test_se_3_no_message_carries_a_secret(served):
    secret = "aGVsbG8gc2VjcmV0"
    served.ask(
        instance_create.request,
        served.caller,
        new_instance("guest", "tenant", "net", user_data=secret, ssh_key="ssh-ed25519 AAAA secret-key"),
    )
    served.settle()
    text = str(list(Step.objects.values_list("request", flat=True))) + str(
        list(Event.objects.values_list("extra", flat=True))
    )
    assert secret not in text and "secret-key" not in text


def test_en_8_a_reboot_for_a_journal_that_is_gone_is_not_run_again(guest):
    accepted = guest.ask(instance_power.request, guest.caller, guest.instance, "reboothard")
    (letter,) = guest.home.letters
    guest.home.letters.clear()
    guest.run(guest.home.report)
    lost = Outcome(token=letter.token, kind="stale", code="incarnation")
    guest.run(engine.settle, guest.home.pk, lost)
    guest.settle()
    assert state_of(accepted) == "failed"
    assert not [effect for effect in guest.home.host.effects if effect[0] == "reboot_domain"]

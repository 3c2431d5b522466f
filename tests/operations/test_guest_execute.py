"""guest_execute: started once, asked for until it ends, never forgotten."""

import pytest

from nodeagent.host import CommandResult
from sftasks.operations import guest_execute, instance_power
from sftasks.reconcilers import agent_operations as reconciler
from sfweb.errors import Invalid
from sfweb.models import AgentOperation, Blob, Operation
from sfweb.models.fields import FromNow
from tests.cluster import repeats_are_harmless
from tests.operations.talking import make_talk, row_of


@pytest.fixture
def talking(guest):
    return make_talk(guest)


def execute(cluster, command="true", seconds=600):
    return cluster.ask(guest_execute.request, cluster.caller, cluster.instance, command, seconds)


def test_ag_10_a_command_tells_code_and_output(talking):
    talking.home.host.guests.commands["ls"] = CommandResult(code=2, stdout=b"here", stderr=b"gone")
    accepted = execute(talking, "ls")
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.results) == (
        "complete",
        {"0": {"return-code": 2, "stdout": "here", "stderr": "gone"}},
    )
    assert talking.findings() == []


def test_repeats_are_harmless(talking):
    assert repeats_are_harmless(talking, execute).state == "succeeded"


def test_ag_2_commands_run_one_after_the_other_and_each_has_its_own_fate(talking):
    host = talking.home.host
    host.guests.commands |= {"first": None, "third": CommandResult(code=0, stdout=b"3", stderr=b"")}
    first, second, third = (execute(talking, name) for name in ("first", "second", "third"))
    talking.settle(rounds=3)
    assert [row_of(one).state for one in (first, second, third)] == ["queued"] * 3
    assert [effect[0] for effect in host.effects].count("start_in_guest") == 1
    host.guests.commands["first"] = CommandResult(code=9, stdout=b"", stderr=b"")
    talking.settle()
    assert [row_of(one).state for one in (first, second, third)] == ["complete"] * 3


def test_a_running_command_does_not_hold_up_the_instance(talking):
    talking.home.host.guests.commands["sleep"] = None
    execute(talking, "sleep")
    talking.settle(rounds=2)
    off = talking.ask(instance_power.request, talking.caller, talking.instance, "poweroff")
    talking.settle(rounds=5)
    assert Operation.objects.get(pk=off.operation.pk).state == "succeeded"


def test_ag_4_a_command_ends_at_its_deadline(talking):
    talking.home.host.guests.commands["sleep"] = None
    accepted = execute(talking, "sleep")
    talking.settle(rounds=2)
    AgentOperation.objects.update(deadline=FromNow(-1))
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.error_message) == (
        "expired",
        "guest.deadline: the command did not end in time and was killed",
    )
    assert len(talking.home.host.guests.killed) == 1


def test_ag_4_one_that_waits_beyond_its_deadline_never_starts(talking):
    talking.home.host.guests.commands["sleep"] = None
    running, waiting = execute(talking, "sleep"), execute(talking, "late", 1)
    talking.settle(rounds=2)
    AgentOperation.objects.filter(pk=waiting.row.pk).update(deadline=FromNow(-1))
    assert talking.run(reconciler.run)["expired"] == 1
    assert row_of(waiting).state == "expired"
    assert row_of(running).state == "queued"


def test_ag_5_a_command_whose_start_was_interrupted_is_not_started_again(talking):
    talking.home.host.crash_after("start_in_guest")
    accepted = execute(talking)
    with pytest.raises(BaseException, match="after start_in_guest"):
        talking.home.work()
    talking.home.restart()
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.error_message) == ("error", f"interrupted: {guest_execute.INTERRUPTED}")
    assert [effect[0] for effect in talking.home.host.effects].count("start_in_guest") == 1


def test_an_agent_that_starts_again_still_hears_how_the_command_ended(talking):
    talking.home.host.guests.commands["slow"] = None
    accepted = execute(talking, "slow")
    talking.settle(rounds=3)
    talking.home.restart()
    talking.home.host.guests.commands["slow"] = CommandResult(code=0, stdout=b"done", stderr=b"")
    talking.settle()
    assert row_of(accepted).results["0"]["stdout"] == "done"


def test_long_output_is_a_blob_that_goes_with_its_operation(talking):
    talking.home.host.guests.commands["cat"] = CommandResult(code=0, stdout=b"x" * 70_000, stderr=b"")
    accepted = execute(talking, "cat")
    talking.settle()
    row = row_of(accepted)
    assert row.results["0"]["stdout_blob"] == str(row.blob_id)
    assert Blob.objects.get(pk=row.blob_id).size == 70_000
    assert talking.findings() == []
    AgentOperation.objects.update(finished_at=FromNow(-8 * 86400))
    assert talking.run(reconciler.run)["forgotten"] == 1
    talking.settle()
    assert Blob.objects.get(pk=row.blob_id).state == "deleted"
    assert talking.home.host.blob(str(row.blob_id)) is None
    assert talking.findings() == []


def test_nobody_is_asked_in_a_guest_without_an_agent(guest):
    with pytest.raises(Invalid, match="not ready"):
        execute(guest)
    assert not AgentOperation.objects.exists()
    assert not Operation.objects.filter(kind="guest_execute").exists()


def test_ag_3_the_time_counts_from_the_request(talking):
    accepted = execute(talking, "true", 100)
    row = row_of(accepted)
    assert 95 < (row.deadline - row.created_at).total_seconds() <= 100.1

"""The actions that speak to a guest's agent: start_guest_command, collect_guest_command, put_guest_file, get_guest_file."""

import pytest

from nodeagent.actions import collect_guest_command, get_guest_file, put_guest_file, start_guest_command
from nodeagent.fake_host import FakeHost
from nodeagent.host import CommandResult, Refused, Retry
from tests.actions.test_other_actions import booted
from tests.node_specs import BLOB, INSTANCE, UPLOAD, RecordingCall

LONG = b"x" * (collect_guest_command.INLINE_BYTES + 1)


def start(host: FakeHost, command: str = "true") -> int:
    request = start_guest_command.Request(instance=INSTANCE, command_line=command)
    return int(start_guest_command.run(request, host, RecordingCall()).facts["pid"])


def collect(host: FakeHost, pid: int, seconds: float = 60.0):
    request = collect_guest_command.Request(instance=INSTANCE, pid=pid, seconds=seconds, patience=0.0, blob=UPLOAD)
    return collect_guest_command.run(request, host, RecordingCall()).facts


def test_a_command_says_how_it_ended() -> None:
    host = booted()
    host.guests.commands["ls"] = CommandResult(code=2, stdout=b"here\xff", stderr=b"no")
    assert collect(host, start(host, "ls")) == {"code": 2, "stdout": "here\ufffd", "stderr": "no", "blob": None}


def test_a_command_that_runs_keeps_no_thread() -> None:
    host = booted()
    host.guests.commands["sleep"] = None
    with pytest.raises(Retry) as refusal:
        collect(host, start(host, "sleep"))
    assert (refusal.value.code, refusal.value.after) == ("guest.running", collect_guest_command.AGAIN_SECONDS)
    assert host.guests.killed == []


def test_ag_4_a_command_past_its_time_is_killed() -> None:
    host = booted()
    host.guests.commands["sleep"] = None
    pid = start(host, "sleep")
    with pytest.raises(Refused, match="did not end in time"):
        collect(host, pid, seconds=-1.0)
    assert host.guests.killed == [pid]


def test_a_cancelled_command_is_killed() -> None:
    host = booted()
    host.guests.commands["sleep"] = None
    pid = start(host, "sleep")
    request = collect_guest_command.Request(instance=INSTANCE, pid=pid, seconds=60.0, patience=5.0, blob=UPLOAD)
    with pytest.raises(Refused, match="cancelled"):
        collect_guest_command.run(request, host, RecordingCall(cancel_at=0))
    assert host.guests.killed == [pid]


def test_long_output_becomes_a_blob() -> None:
    host = booted()
    host.guests.commands["cat"] = CommandResult(code=0, stdout=LONG, stderr=b"")
    facts = collect(host, start(host, "cat"))
    assert (facts["blob"]["size"], len(facts["stdout"])) == (len(LONG), collect_guest_command.INLINE_BYTES)
    assert host.blob(UPLOAD) is not None


def test_files_go_in_and_come_out() -> None:
    host = booted()
    put = put_guest_file.Request(instance=INSTANCE, blob=BLOB, path="/etc/motd", mode=0o600, patience=9)
    put_guest_file.run(put, host, RecordingCall())
    assert host.guests.modes[INSTANCE, "/etc/motd"] == 0o600
    get = get_guest_file.Request(instance=INSTANCE, blob=UPLOAD, path="/etc/motd", patience=9, ceiling=100)
    assert get_guest_file.run(get, host, RecordingCall()).facts["size"] == len(BLOB)


@pytest.mark.parametrize(("path", "ceiling", "code"), [("/none", 100, "guest.refused"), ("/x", 1, "guest.too_large")])
def test_a_file_that_cannot_be_had_is_refused(path: str, ceiling: int, code: str) -> None:
    host = booted()
    host.guests.files[INSTANCE, "/x"] = b"content"
    get = get_guest_file.Request(instance=INSTANCE, blob=UPLOAD, path=path, patience=9, ceiling=ceiling)
    with pytest.raises(Refused) as refusal:
        get_guest_file.run(get, host, RecordingCall())
    assert refusal.value.code == code
    assert host.blob(UPLOAD) is None


def test_a_guest_that_is_off_or_silent_is_told_apart() -> None:
    host = booted()
    host.guests.silent.add(INSTANCE)
    with pytest.raises(Retry, match="does not answer"):
        start(host)
    host.stop_domain(INSTANCE)
    with pytest.raises(Refused, match="does not run"):
        start(host)

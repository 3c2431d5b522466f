"""What every action has in common: its declaration, and that repeating it is harmless (EN-8)."""

from typing import Any

import pytest

from nodeagent.action import actions
from nodeagent.fake_host import FakeHost
from nodeagent.specs import CapturedDisk
from nodeagent.wire import Malformed, dump, load
from tests.node_specs import (
    BLOB,
    INSTANCE,
    NETWORK,
    UPLOAD,
    URL,
    RecordingCall,
    blob_spec,
    instance_spec,
    network_spec,
    router_spec,
)

NODE, NEIGHBOUR = "0e000000-0000-4000-8000-000000000001", "198.18.0.9"
CAPTURED = CapturedDisk(device="vda", revision=0, blob=UPLOAD)
REQUESTS: dict[str, dict[str, Any]] = {
    "ensure_network": {"spec": network_spec()},
    "remove_network": {"network": NETWORK, "vni": 100},
    "ensure_router": {"spec": router_spec()},
    "remove_router": {"network": NETWORK, "vni": 100},
    "ensure_blob": {"spec": blob_spec()},
    "remove_blob": {"blob": BLOB},
    "observe_image": {"blob": BLOB, "url": URL, "validators": {"etag": "x"}},
    "ensure_instance": {"spec": instance_spec()},
    "remove_instance": {"instance": INSTANCE},
    "reboot_instance": {"instance": INSTANCE},
    "observe_instance": {"instance": INSTANCE},
    "snapshot_instance": {"instance": INSTANCE, "disks": (CAPTURED,), "quiesce": True},
    "start_guest_command": {"instance": INSTANCE, "command_line": "true"},
    "collect_guest_command": {"instance": INSTANCE, "pid": 100, "seconds": 9.0, "patience": 0.0, "blob": UPLOAD},
    "put_guest_file": {"instance": INSTANCE, "blob": BLOB, "path": "/x", "mode": 0o644, "patience": 9},
    "get_guest_file": {"instance": INSTANCE, "blob": UPLOAD, "path": "/x", "patience": 9, "ceiling": 99},
    "receive_instance": {"spec": instance_spec(), "peer": NODE, "running": True},
    "migrate_instance": {"spec": instance_spec(), "address": NEIGHBOUR, "console_port": 31000, "vdi_port": 31001},
    "shut_down_instance": {"instance": INSTANCE, "patience": 9.0},
    "ping_address": {"network": NETWORK, "vni": 100, "address": "10.0.0.9"},
}
TOLD_ONCE = {"reboot_instance", "migrate_instance", "start_guest_command", "collect_guest_command"}
REPEATABLE = sorted(set(REQUESTS) - TOLD_ONCE)
CHANGES = {"created", "unchanged", "repaired", "removed"}


def request_for(name: str) -> Any:
    return actions()[name].request(**REQUESTS[name])


def prepared() -> FakeHost:
    """A machine on which each action has something to do or to look at."""
    host, call = FakeHost(), RecordingCall()
    for name in ("ensure_network", "ensure_router", "ensure_blob", "ensure_instance"):
        actions()[name].run(request_for(name), host, call)
    host.guests.files[INSTANCE, "/x"] = b"content"
    host.guests.start("true")
    return host


def test_every_action_is_covered_here() -> None:
    assert set(actions()) == set(REQUESTS)


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_module_and_action_have_one_name(name: str) -> None:
    action = actions()[name]
    assert action.run.__module__ == f"nodeagent.actions.{name}"
    assert action.wanted == ("absent" if name.startswith("remove_") else "present")


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_request_crosses_the_wire_unchanged(name: str) -> None:
    request = request_for(name)
    assert load(type(request), dump(request)) == request


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_request_with_an_unknown_field_is_refused(name: str) -> None:
    document = {**dump(request_for(name)), "surprise": 1}
    with pytest.raises(Malformed):
        load(actions()[name].request, document)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("remove_network", "network"),
        ("remove_router", "network"),
        ("remove_blob", "blob"),
        ("remove_instance", "instance"),
        ("reboot_instance", "instance"),
        ("observe_instance", "instance"),
        ("ensure_blob", "upload"),
    ],
)
def test_request_with_a_path_for_an_identifier_is_refused(name: str, field: str) -> None:
    with pytest.raises(Malformed):
        load(actions()[name].request, {**dump(request_for(name)), field: "../../etc"})


@pytest.mark.parametrize("name", REPEATABLE)
def test_en_8_a_repeat_changes_nothing(name: str) -> None:
    host = prepared()
    if name in ("remove_blob", "receive_instance"):
        actions()["remove_instance"].run(request_for("remove_instance"), host, RecordingCall())
    first = actions()[name].run(request_for(name), host, RecordingCall())
    before = host.effects
    second = actions()[name].run(request_for(name), host, RecordingCall())
    assert first.change in CHANGES
    assert second.change == ("repaired" if name == "put_guest_file" else "unchanged")  # a guest cannot be asked first
    assert host.effects == before


@pytest.mark.parametrize("name", REPEATABLE)
def test_en_9_an_unknown_error_passes_through_and_is_not_taken_for_absence(name: str) -> None:
    host = prepared()
    before = host.effects
    host.faults.unreliable(retry=0.0, unknown=1.0)
    with pytest.raises(RuntimeError):
        actions()[name].run(request_for(name), host, RecordingCall())
    host.faults.unreliable(retry=0.0, unknown=0.0)
    assert host.effects == before


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_en_8_only_what_a_guest_would_notice_twice_is_done_once(name: str) -> None:
    assert actions()[name].once is (name in ("reboot_instance", "start_guest_command", "migrate_instance"))

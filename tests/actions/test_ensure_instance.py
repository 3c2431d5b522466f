"""ensure_instance: disks, config drive and power follow the spec, and nothing is done twice."""

import pytest

from nodeagent.actions.ensure_instance import Request, run, spec_digest
from nodeagent.fake_host import Crash, FakeHost
from nodeagent.host import Refused, Retry
from nodeagent.specs import InstanceSpec, Power
from tests.node_specs import BLOB, INSTANCE, RecordingCall, blob_spec, disk_spec, instance_spec, interface_spec

STEPS = ("create_disk", "write_config_drive", "start_domain")


def host_with_blob(blob: str = BLOB) -> FakeHost:
    host, spec = FakeHost(), blob_spec(blob=blob)
    host.fetch_blob(spec, spec.source, RecordingCall())
    return host


def ensure(host: FakeHost, spec: InstanceSpec) -> tuple[str, dict[str, object]]:
    result = run(Request(spec=spec), host, RecordingCall())
    return result.change, dict(result.facts)


def changes(host: FakeHost) -> list[str]:
    """The verbs that changed something, without the fetch that prepared the machine."""
    return [verb for verb, _ in host.effects[1:]]


def test_a_new_instance_gets_disk_drive_and_domain() -> None:
    host = host_with_blob()
    assert ensure(host, instance_spec()) == ("created", {"power": "on", "restart_needed": False})
    assert changes(host) == list(STEPS)
    assert host.disks(INSTANCE) == {"vda": BLOB}


def test_a_new_instance_that_is_to_be_off_has_files_and_no_domain() -> None:
    host = host_with_blob()
    assert ensure(host, instance_spec(power=Power.OFF))[0] == "created"
    assert host.domain(INSTANCE) is None
    assert host.disks(INSTANCE) == {"vda": BLOB}


@pytest.mark.parametrize(
    ("was", "wish", "verbs"),
    [
        (Power.OFF, Power.ON, ["start_domain"]),
        (Power.OFF, Power.PAUSED, ["start_domain"]),
        (Power.ON, Power.OFF, ["stop_domain"]),
        (Power.ON, Power.PAUSED, ["suspend_domain"]),
        (Power.PAUSED, Power.ON, ["resume_domain"]),
        (Power.PAUSED, Power.OFF, ["stop_domain"]),
        (Power.ON, Power.ON, []),
        (Power.OFF, Power.OFF, []),
        (Power.PAUSED, Power.PAUSED, []),
    ],
)
def test_power_follows_the_wish(was: Power, wish: Power, verbs: list[str]) -> None:
    host = host_with_blob()
    ensure(host, instance_spec(power=was))
    before = len(changes(host))
    change, facts = ensure(host, instance_spec(power=wish))
    assert changes(host)[before:] == verbs
    assert (change, facts["power"]) == ("repaired" if verbs else "unchanged", wish)
    domain = host.domain(INSTANCE)
    assert (domain.power if domain else "off") == wish


def test_a_domain_of_another_spec_is_left_running() -> None:
    host = host_with_blob()
    ensure(host, instance_spec())
    bigger = instance_spec(memory_mb=256)
    assert ensure(host, bigger) == ("unchanged", {"power": "on", "restart_needed": True})
    ensure(host, instance_spec(memory_mb=256, power=Power.OFF))
    assert ensure(host, bigger)[1]["restart_needed"] is False
    domain = host.domain(INSTANCE)
    assert domain is not None and domain.digest == spec_digest(bigger)


def test_the_digest_is_of_what_only_a_new_start_can_change() -> None:
    for changed in ({"power": Power.PAUSED}, {"disks": ()}, {"interfaces": ()}, {"name": "other"}):
        assert spec_digest(instance_spec()) == spec_digest(instance_spec(**changed))
    for changed in ({"cpus": 2}, {"memory_mb": 256}, {"console_port": 30009}, {"uefi": True}):
        assert spec_digest(instance_spec()) != spec_digest(instance_spec(**changed))


SECOND_CARD = interface_spec(mac="02:00:00:00:00:02", address="10.0.0.6")
SECOND_DISK = disk_spec(device="vdc", blob=None, size_gb=1)
PLUGGED = {"interfaces": (interface_spec(), SECOND_CARD), "disks": (disk_spec(), SECOND_DISK)}


def test_ni_4_a_running_guest_gets_and_loses_cards_and_disks() -> None:
    host = host_with_blob()
    ensure(host, instance_spec())
    before = len(changes(host))
    assert ensure(host, instance_spec(**PLUGGED)) == ("repaired", {"power": "on", "restart_needed": False})
    assert changes(host)[before:] == ["create_disk", "attach_interface", "attach_disk"]
    assert ensure(host, instance_spec(**PLUGGED))[0] == "unchanged"
    assert ensure(host, instance_spec()) == ("repaired", {"power": "on", "restart_needed": False})
    assert changes(host)[before + 3 :] == ["detach_interface", "detach_disk", "remove_disk"]
    domain = host.domain(INSTANCE)
    assert domain is not None and (domain.macs, domain.disks) == ((interface_spec().mac,), ("vda",))


def test_ni_4_a_stopped_guest_gets_them_at_its_next_start() -> None:
    host = host_with_blob()
    ensure(host, instance_spec(power=Power.OFF))
    before = len(changes(host))
    ensure(host, instance_spec(power=Power.OFF, **PLUGGED))
    assert changes(host)[before:] == ["create_disk"]
    ensure(host, instance_spec(**PLUGGED))
    domain = host.domain(INSTANCE)
    assert domain is not None and (len(domain.macs), domain.disks) == (2, ("vda", "vdc"))


@pytest.mark.parametrize("verb", ["create_disk", "attach_interface", "attach_disk"])
@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_en_15_a_crash_while_plugging_is_made_good(verb: str, moment: str) -> None:
    host = host_with_blob()
    ensure(host, instance_spec())
    before = len(changes(host))
    getattr(host, moment)(verb)
    with pytest.raises(Crash):
        ensure(host, instance_spec(**PLUGGED))
    ensure(host, instance_spec(**PLUGGED))
    assert sorted(changes(host)[before:]) == ["attach_disk", "attach_interface", "create_disk"]


@pytest.mark.parametrize("verb", ["detach_interface", "detach_disk"])
def test_a_guest_that_does_not_let_go_keeps_the_device_and_its_file(verb: str) -> None:
    host = host_with_blob()
    ensure(host, instance_spec(**PLUGGED))
    host.fail_next(verb, Retry("device.busy"))
    with pytest.raises(Retry):
        ensure(host, instance_spec())
    assert "vdc" in host.disks(INSTANCE)
    ensure(host, instance_spec())
    assert set(host.disks(INSTANCE)) == {"vda"}


@pytest.mark.parametrize("power", [Power.ON, Power.OFF, Power.PAUSED])
def test_a_disk_grows_and_never_shrinks(power: Power) -> None:
    host = host_with_blob()
    ensure(host, instance_spec(power=power, disks=(disk_spec(size_gb=2),)))
    assert ensure(host, instance_spec(power=power, disks=(disk_spec(size_gb=3),)))[0] == "repaired"
    for size in (3, 2, 0):
        assert ensure(host, instance_spec(power=power, disks=(disk_spec(size_gb=size),)))[0] == "unchanged"
    assert host.disk_sizes(INSTANCE) == {"vda": 3}


def test_without_the_blob_it_is_tried_again_and_nothing_is_made() -> None:
    host = FakeHost()
    with pytest.raises(Retry) as caught:
        ensure(host, instance_spec())
    assert caught.value.code == "blob.missing"
    assert host.effects == []


def test_a_running_domain_does_not_need_its_blob_to_be_looked_for() -> None:
    host = host_with_blob()
    ensure(host, instance_spec())
    host.fail_next("blob", RuntimeError("the blob store does not answer"))
    assert ensure(host, instance_spec())[0] == "unchanged"


def test_a_disk_on_another_blob_is_never_replaced() -> None:
    host = host_with_blob()
    ensure(host, instance_spec())
    with pytest.raises(Refused) as caught:
        ensure(host, instance_spec(disks=(disk_spec(blob="6f1c9d0a-0000-4000-8000-00000000000f"),)))
    assert caught.value.code == "disk.conflict"


def test_a_taken_port_is_refused_by_name() -> None:
    host = host_with_blob()
    host.taken_ports.add(30002)
    with pytest.raises(Refused, match="30002") as caught:
        ensure(host, instance_spec())
    assert caught.value.code == "port.taken"


def test_se_3_secrets_are_fetched_only_when_the_drive_is_written() -> None:
    host, call = host_with_blob(), RecordingCall()
    for _ in range(2):
        run(Request(spec=instance_spec()), host, call)
    assert call.secrets_fetched == 1
    without = RecordingCall()
    run(Request(spec=instance_spec(config_drive=False)), host_with_blob(), without)
    assert without.secrets_fetched == 0


@pytest.mark.parametrize("verb", STEPS)
@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_en_15_a_crash_anywhere_is_made_good_without_a_second_effect(verb: str, moment: str) -> None:
    host = host_with_blob()
    getattr(host, moment)(verb)
    with pytest.raises(Crash):
        ensure(host, instance_spec())
    ensure(host, instance_spec())
    assert sorted(changes(host)) == sorted(STEPS)
    assert host.domain(INSTANCE) is not None


@pytest.mark.parametrize("verb", STEPS)
def test_en_9_a_transient_error_is_passed_on_and_the_next_attempt_completes(verb: str) -> None:
    host = host_with_blob()
    host.fail_next(verb, Retry("domain.stuck"))
    with pytest.raises(Retry):
        ensure(host, instance_spec())
    ensure(host, instance_spec())
    assert sorted(changes(host)) == sorted(STEPS)


def test_en_13_a_domain_that_ended_by_itself_is_started_again_when_the_wish_is_on() -> None:
    host = host_with_blob()
    ensure(host, instance_spec())
    host.end_domain(INSTANCE, "crashed")
    assert ensure(host, instance_spec())[0] == "repaired"
    causes = [host.events.get(timeout=1).cause for _ in range(3)]
    assert causes == ["started", "crashed", "started"]

"""The actions on blobs, networks and single instances, one by one."""

import pytest

from nodeagent.actions import (
    ensure_blob,
    ensure_instance,
    ensure_network,
    ensure_router,
    observe_image,
    observe_instance,
    ping_address,
    reboot_instance,
    remove_blob,
    remove_instance,
    remove_network,
    remove_router,
)
from nodeagent.fake_host import FakeHost
from nodeagent.host import Refused, Retry
from nodeagent.specs import BlobSource, FloatingAddress
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
    sha512,
)


def fetched(host: FakeHost) -> None:
    ensure_blob.run(ensure_blob.Request(spec=blob_spec()), host, RecordingCall())


def booted() -> FakeHost:
    host = FakeHost()
    fetched(host)
    ensure_instance.run(ensure_instance.Request(spec=instance_spec()), host, RecordingCall())
    return host


def test_a_network_that_differs_is_repaired() -> None:
    host, call = FakeHost(), RecordingCall()
    words = [
        ensure_network.run(ensure_network.Request(spec=network_spec(peers=peers)), host, call).change
        for peers in ((), (), ("198.18.0.9",))
    ]
    assert words == ["created", "unchanged", "repaired"]
    assert remove_network.run(remove_network.Request(network=NETWORK, vni=100), host, call).change == "removed"


def test_a_router_that_differs_is_repaired() -> None:
    host, call = FakeHost(), RecordingCall()
    words = [
        ensure_router.run(ensure_router.Request(spec=router_spec(dns=dns)), host, call).change
        for dns in (True, True, False)
    ]
    assert words == ["created", "unchanged", "repaired"]
    assert remove_router.run(remove_router.Request(network=NETWORK, vni=100), host, call).change == "removed"


def test_a_fetched_blob_teaches_its_facts() -> None:
    host = FakeHost()
    result = ensure_blob.run(ensure_blob.Request(spec=blob_spec()), host, RecordingCall())
    assert result.change == "created"
    assert result.facts["sha512"] == sha512(URL.encode())
    assert set(result.facts["hashes"]) == {"sha1", "sha256", "sha512", "xxh128"}


def test_a_broken_copy_is_fetched_again_only_when_it_is_said_to_be_broken() -> None:
    host = FakeHost()
    fetched(host)
    host.rot(BLOB, "unreadable")
    assert [check.reason for check in host.verify_blobs(1)] == ["unreadable"]
    known = host.blob(BLOB)
    assert known is not None
    spec = blob_spec(sha512=known.sha512, size=known.size)
    assert ensure_blob.run(ensure_blob.Request(spec=spec), host, RecordingCall()).change == "unchanged"
    assert ensure_blob.run(ensure_blob.Request(spec=spec, renew=True), host, RecordingCall()).change == "repaired"
    assert [check.reason for check in host.verify_blobs(1)] == [""]


def test_fr_4_observe_image_says_whether_the_server_has_another_version() -> None:
    host = FakeHost()
    facts = ensure_blob.run(ensure_blob.Request(spec=blob_spec()), host, RecordingCall()).facts
    asked = observe_image.Request(blob=BLOB, url=URL, validators=facts["validators"])
    assert observe_image.run(asked, host, RecordingCall()).facts == {"changed": False}
    host.serve(URL, b"another version")
    assert observe_image.run(asked, host, RecordingCall()).facts == {"changed": True}
    host.serve(URL, Retry("fetch.server"))
    with pytest.raises(Retry):
        observe_image.run(asked, host, RecordingCall())


def test_fr_2_a_fetch_is_tried_again_three_times_at_growing_distances() -> None:
    for action in (ensure_blob.ACTION, observe_image.ACTION):
        assert (action.retries, action.backoff) == (3, (15, 30, 60))


def test_se_5_a_ticket_is_fetched_when_the_bytes_come_from_a_peer() -> None:
    call, spec = RecordingCall(), blob_spec(source=BlobSource(peer="n2"), size=5, sha512=sha512(b"x"))
    result = ensure_blob.run(ensure_blob.Request(spec=spec), FakeHost(), call)
    assert call.peers == [(BLOB, "n2")]
    assert (result.facts["size"], result.facts["sha512"]) == (5, sha512(b"x"))


def test_an_upload_is_adopted_and_nothing_is_fetched() -> None:
    host = FakeHost()
    ensure_blob.run(ensure_blob.Request(spec=blob_spec(), upload=UPLOAD), host, RecordingCall())
    assert host.effects == [("adopt_upload", BLOB)]


def test_a_blob_with_other_content_is_refused_and_stays() -> None:
    host = FakeHost()
    fetched(host)
    with pytest.raises(Refused) as caught:
        ensure_blob.run(ensure_blob.Request(spec=blob_spec(sha512="00")), host, RecordingCall())
    assert caught.value.code == "blob.conflict"
    assert host.blob(BLOB) is not None


@pytest.mark.parametrize("error", [Refused("fetch.not_found"), Retry("fetch.dns")])
def test_en_9_what_the_source_says_ends_the_attempt(error: Exception) -> None:
    host = FakeHost()
    host.serve(URL, error)
    with pytest.raises(type(error)):
        fetched(host)
    assert host.effects == []


def test_en_14_a_fetch_can_be_cancelled() -> None:
    host = FakeHost()
    with pytest.raises(Refused) as caught:
        ensure_blob.run(ensure_blob.Request(spec=blob_spec()), host, RecordingCall(cancel_at=50))
    assert caught.value.code == "cancelled"
    assert host.blob(BLOB) is None
    assert ensure_blob.ACTION.max_seconds > 60


def test_a_blob_in_use_is_not_removed() -> None:
    host = booted()
    request = remove_blob.Request(blob=BLOB)
    with pytest.raises(Refused) as caught:
        remove_blob.run(request, host, RecordingCall())
    assert caught.value.code == "blob.in_use"
    remove_instance.run(remove_instance.Request(instance=INSTANCE), host, RecordingCall())
    assert remove_blob.run(request, host, RecordingCall()).change == "removed"


def test_removing_an_instance_leaves_nothing_of_it() -> None:
    host = booted()
    assert remove_instance.run(remove_instance.Request(instance=INSTANCE), host, RecordingCall()).change == "removed"
    assert host.domain(INSTANCE) is None
    assert INSTANCE not in host.inventory().instances


def test_removing_what_only_half_exists_removes_that_half() -> None:
    host = booted()
    host.end_domain(INSTANCE, "crashed")
    assert remove_instance.run(remove_instance.Request(instance=INSTANCE), host, RecordingCall()).change == "removed"


@pytest.mark.parametrize("hard", [True, False])
def test_en_8_reboot_acts_each_time_and_is_declared_once(hard: bool) -> None:
    host = booted()
    before = len(host.effects)
    reboot_instance.run(reboot_instance.Request(instance=INSTANCE, hard=hard), host, RecordingCall())
    assert host.effects[before:] == [("reboot_domain", INSTANCE)]
    assert reboot_instance.ACTION.once


def test_an_instance_that_is_off_cannot_be_rebooted() -> None:
    with pytest.raises(Refused) as caught:
        reboot_instance.run(reboot_instance.Request(instance=INSTANCE), FakeHost(), RecordingCall())
    assert caught.value.code == "instance.off"


def test_observing_says_what_is_there_and_changes_nothing() -> None:
    host = booted()
    before = host.effects
    seen = observe_instance.run(observe_instance.Request(instance=INSTANCE), host, RecordingCall())
    assert (seen.facts["power"], seen.facts["disks"], seen.facts["config_drive"]) == ("on", {"vda": BLOB}, True)
    nothing = observe_instance.run(observe_instance.Request(instance=NETWORK), host, RecordingCall())
    assert (nothing.facts["power"], nothing.facts["disks"]) == ("off", {})
    assert host.effects == before


def test_hp_6_ping_address_gives_the_lines_and_needs_a_router() -> None:
    host, call = FakeHost(), RecordingCall()
    request = ping_address.Request(network=NETWORK, vni=7, address="10.0.0.9")
    with pytest.raises(Refused) as refused:
        ping_address.run(request, host, call)
    assert refused.value.code in ping_address.ACTION.refusals
    ensure_router.run(ensure_router.Request(spec=router_spec()), host, call)
    result = ping_address.run(request, host, call)
    assert (result.change, result.facts["stdout"][0], result.facts["stderr"]) == ("unchanged", "PING 10.0.0.9", [])
    with pytest.raises(ValueError):
        ping_address.Request(network=NETWORK, vni=7, address="10.0.0.9; reboot")


@pytest.mark.parametrize(
    "changes",
    [
        {"floating": (FloatingAddress(address="198.19.0.9", target="10.9.9.9"),)},
        {"routed": ("nonsense",)},
        {"routed": ("198.19.0.9", "198.19.0.9")},
        {"routed": ("198.19.0.9",), "egress": None},
    ],
)
def test_fl_5_a_router_with_impossible_outside_addresses_is_no_spec(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        router_spec(**changes)

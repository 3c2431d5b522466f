"""Domains on libvirt's own in-memory hypervisor: no QEMU, the real library."""

import queue
import uuid
from collections.abc import Iterator

import libvirt
import pytest

from nodeagent.drivers.domain_events import Lifecycle
from nodeagent.drivers.domain_xml import METADATA
from nodeagent.drivers.domains import Domains
from nodeagent.host import DomainState, Retry

TEST_HYPERVISOR = "test:///default"


@pytest.fixture
def domains() -> Iterator[Domains]:
    found = Domains(TEST_HYPERVISOR)
    yield found
    for instance in found.running():
        found.stop(instance)
    found.close()


@pytest.fixture
def instance() -> str:
    return str(uuid.uuid4())


def document(instance: str, digest: str = "d1") -> str:
    return f"""<domain type='test'><name>sf-{instance}</name><uuid>{instance}</uuid><memory unit='MiB'>16</memory>
        <metadata><sf:spec xmlns:sf='{METADATA}'>{digest}</sf:spec></metadata><os><type>hvm</type></os></domain>"""


def test_a_domain_is_started_found_and_cut(domains: Domains, instance: str) -> None:
    assert domains.state(instance) is None
    domains.start(instance, document(instance), paused=False)
    assert domains.state(instance) == DomainState(power="on", digest="d1")
    assert domains.running() == {instance: "on"}
    assert [domains.stop(instance), domains.stop(instance)] == ["removed", "unchanged"]
    assert domains.state(instance) is None


def test_suspend_and_resume(domains: Domains, instance: str) -> None:
    domains.start(instance, document(instance), paused=False)
    domains.suspend(instance)
    assert domains.running() == {instance: "paused"}
    domains.resume(instance)
    assert domains.running() == {instance: "on"}


def test_a_stranger_is_not_counted(domains: Domains) -> None:
    connection = libvirt.open(TEST_HYPERVISOR)
    names = [domain.name() for domain in connection.listAllDomains()]
    connection.close()
    assert "test" in names
    assert domains.running() == {}


def test_hc_22_a_hypervisor_that_cannot_be_asked_is_no_absence(instance: str) -> None:
    silent = Domains("qemu+unix:///system?socket=/nonexistent/libvirt-sock")
    questions = (lambda: silent.state(instance), silent.running, lambda: silent.stop(instance), silent.watch)
    for question in questions:
        with pytest.raises(Retry) as caught:
            question()
        assert caught.value.code == "libvirt.unreachable"


def test_a_dead_connection_is_opened_again(domains: Domains, instance: str) -> None:
    domains.start(instance, document(instance), paused=False)
    before = domains._connection

    class Dead:
        def isAlive(self) -> int:
            return 0

        def close(self) -> int:
            return 0

    domains._connection = Dead()
    assert domains.running() == {instance: "on"}
    assert domains._connection is not before
    before.close()


def test_a_domain_that_has_just_gone_is_tried_again(domains: Domains, instance: str) -> None:
    with pytest.raises(Retry) as caught:
        domains.suspend(instance)
    assert caught.value.code == "domain.missing"


def test_en_13_events_say_what_happened_and_who_wanted_it(domains: Domains, instance: str) -> None:
    domains.watch()
    domains.start(instance, document(instance), paused=False)
    domains.suspend(instance)
    domains.resume(instance)
    domains.stop(instance)
    seen = [domains.events.get(timeout=5) for _ in range(4)]
    assert [event.cause for event in seen] == ["started", "paused", "resumed", "cut"]
    assert {event.instance for event in seen} == {instance}


def test_pw_2_a_pause_by_a_failing_disk_is_told_from_one_by_command() -> None:
    cause = Lifecycle(queue.SimpleQueue())._cause
    suspended = libvirt.VIR_DOMAIN_EVENT_SUSPENDED
    assert cause("i", suspended, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR) == "disk_error"
    assert cause("i", suspended, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED) == "paused"


def test_en_13_a_shutdown_by_the_guest_is_told_from_one_by_the_host(domains: Domains, instance: str) -> None:
    domains.watch()
    domains.start(instance, document(instance), paused=False)
    connection = libvirt.open(TEST_HYPERVISOR)
    connection.lookupByUUIDString(instance).shutdown()
    connection.close()
    assert [domains.events.get(timeout=5).cause for _ in range(2)] == ["started", "guest"]

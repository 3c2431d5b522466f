"""SE-12: a namespace has so much and no more, whoever asks and however many ask at once; what is refused leaves nothing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from sftasks import celery
from sftasks.operations import (
    disk_attach,
    instance_create,
    instance_delete,
    instance_power,
    instance_update,
    network_create,
)
from sfweb.domain import limits
from sfweb.domain.callers import CLUSTER
from sfweb.domain.specs import InstanceChange, NewDisk
from sfweb.errors import LimitReached
from sfweb.models import Address, Instance, Namespace, Network, NodeCapacity, Operation, PoolAllocation
from sfweb.models.state import OperationState, State
from tests.factories import make_namespace, new_instance, new_network


def limit(name="tenant", **own):
    limits.set_limits(CLUSTER, Namespace.objects.get(name=name), own)


def refused(function, *arguments):
    """The figures of the refusal; nothing was left behind by it."""
    before = counted()
    with pytest.raises(LimitReached) as error:
        function(*arguments)
    assert counted() == before
    return {name: error.value.details[name] for name in ("limit", "used", "asked")}


def counted():
    room = NodeCapacity.objects.order_by("node").values_list("used_cpus", "used_memory_mb", "used_disk_gb")
    rows = (Instance, Network, Operation, PoolAllocation, Address)
    return [model.objects.count() for model in rows], list(room)


def test_se_12_the_last_instance_that_fits_and_the_first_that_does_not(guest):
    limit(instances=2)
    guest.ask(instance_create.request, guest.caller, new_instance("second", "tenant", "net"))
    figures = refused(instance_create.request, guest.caller, new_instance("third", "tenant", "net"))
    assert figures == {"limit": 2, "used": 2, "asked": 1}
    guest.settle()
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    guest.ask(instance_create.request, guest.caller, new_instance("third", "tenant", "net"))


def test_se_12_system_is_held_to_the_limits_of_whom_it_acts_for(guest):
    limit(instances=1)
    system = make_namespace("system")
    assert refused(instance_create.request, system, new_instance("second", "tenant"))["used"] == 1


def test_se_12_networks(served):
    limit(networks=1)
    assert refused(network_create.request, served.caller, new_network("more"))["used"] == 1


def test_se_12_disk_of_new_instances_new_disks_and_grown_ones(guest):
    held = limits.limits_of(Namespace.objects.get(name="tenant"))["disk_gb"]["used"]
    limit(disk_gb=held + 2)
    big = new_instance("big", "tenant", disks=(NewDisk(size_gb=3),))
    assert refused(instance_create.request, guest.caller, big) == {"limit": held + 2, "used": held, "asked": 3}
    assert refused(disk_attach.request, guest.caller, guest.instance, NewDisk(size_gb=3))["asked"] == 3
    size = guest.instance.disks.get().size_gb
    grow = InstanceChange(disks=(("vda", size + 3),))
    assert refused(instance_update.request, guest.caller, guest.instance, grow)["asked"] == 3
    guest.ask(disk_attach.request, guest.caller, guest.instance, NewDisk(size_gb=2))
    guest.settle()
    limit(disk_gb=0)
    guest.ask(instance_update.request, guest.caller, guest.instance, InstanceChange(name="renamed"))


def wait(count, kind="instance_create", namespace="tenant"):
    owner = Namespace.objects.get(name=namespace)
    for number in range(count):
        Operation.objects.create(
            kind=kind, namespace=owner, object_key=f"instance:{number}", state=OperationState.WAITING
        )


@pytest.mark.parametrize(("most", "waiting"), [(3, 3), (200, 200)])
def test_se_12_so_many_operations_wait_and_one_that_deletes_always_may(guest, settings, most, waiting):
    settings.NAMESPACE_MAX_WAITING = most
    wait(waiting)
    figures = refused(network_create.request, guest.caller, new_network("more"))
    assert figures == {"limit": most, "used": waiting, "asked": 1}
    guest.ask(instance_power.request, guest.caller, guest.instance, "poweroff")
    guest.ask(instance_delete.request, guest.caller, guest.instance)


def test_se_12_one_below_the_ceiling_is_let_in(guest, settings):
    wait(settings.NAMESPACE_MAX_WAITING - 1)
    guest.ask(network_create.request, guest.caller, new_network("more"))


def test_se_12_the_namespaces_of_others_and_system_are_not_counted(guest, settings):
    make_namespace("crowded")
    wait(settings.NAMESPACE_MAX_WAITING, namespace="crowded")
    guest.ask(network_create.request, guest.caller, new_network("more"))
    system = make_namespace("system")
    settings.NAMESPACE_MAX_NETWORKS = 0
    guest.ask(network_create.request, system, new_network("ours", "system"))
    limit("system", networks=0)
    assert refused(network_create.request, system, new_network("ours too", "system"))["limit"] == 0


def test_se_12_what_the_cluster_wants_by_itself_is_never_refused(guest, settings):
    settings.NAMESPACE_MAX_WAITING = 0
    guest.ask(network_create.request, CLUSTER, new_network("more"))


def test_a_limit_of_its_own_replaces_the_setting_and_leaves_again(guest, settings):
    tenant = Namespace.objects.get(name="tenant")
    limit(networks=7)
    tenant.refresh_from_db()
    assert limits.limits_of(tenant)["networks"] == {"limit": 7, "used": 1, "is_default": False}
    limit()
    tenant.refresh_from_db()
    assert limits.limits_of(tenant)["networks"] == {
        "limit": settings.NAMESPACE_MAX_NETWORKS,
        "used": 1,
        "is_default": True,
    }


def at_once(count):
    """So many threads that each want a network at one moment; how many there are in the end."""
    caller = make_namespace()
    limit(networks=3)
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait()
        try:
            network_create.request(caller, new_network(f"net{number}", netblock=f"10.{number}.0.0/24"))
        except LimitReached as error:
            assert error.details["limit"] == 3
            return 0
        finally:
            connection.close()
        return 1

    with ThreadPoolExecutor(count) as pool:
        admitted = sum(pool.map(one, range(count)))
    assert Network.objects.filter(namespace__name="tenant").exclude(state=State.DELETED).count() == admitted
    return admitted


@pytest.fixture
def slow_counts(monkeypatch):
    """Time enough between a look and what follows from it for everybody else to look too."""
    monkeypatch.setattr(celery, "ring", lambda messages: 0)
    count = limits.COUNTS["networks"]

    def slowly(namespace):
        found = count(namespace)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(limits, "COUNTS", {**limits.COUNTS, "networks": slowly})


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_se_12_nobody_takes_the_last_place_twice(slow_counts):
    assert at_once(8) == 3


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_se_12_without_the_lock_more_come_in(slow_counts, monkeypatch, settings):
    settings.NAMESPACE_MAX_WAITING = 1000

    def unlocked(namespace, **more):
        row = Namespace.objects.get(pk=namespace)
        for name, asked in more.items():
            limits._refuse_above(row, name, limits.ceiling(row, name), limits.COUNTS[name](row.pk), asked)
        return row

    monkeypatch.setattr(limits, "lock_within", unlocked)
    assert at_once(8) > 3

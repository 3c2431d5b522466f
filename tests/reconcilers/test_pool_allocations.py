"""pool_allocations: what has rested long enough is free again (GA-7, IP-4)."""

import uuid

import pytest
from prometheus_client import REGISTRY

from sftasks.operations import instance_delete
from sftasks.reconcilers import pool_allocations
from sfweb.domain import allocator
from sfweb.errors import PoolExhausted
from sfweb.models import Address, Event, EventObject, PoolAllocation
from sfweb.models.fields import FromNow


def test_ga_4_a_released_port_rests_and_is_not_given_again_before_its_time(guest):
    node = guest.home.pk
    taken = allocator.allocate(f"port/{node}", "test", uuid.uuid4())
    allocator.release(f"port/{node}", taken)
    assert allocator.allocate(f"port/{node}", "test", uuid.uuid4()) != taken
    PoolAllocation.objects.filter(pool_name=f"port/{node}", value=taken).update(expires_at=FromNow(-1))
    assert allocator.allocate(f"port/{node}", "test", uuid.uuid4()) == taken


def test_ga_2_release_is_harmless_when_repeated(guest):
    owner = uuid.uuid4()
    value = allocator.allocate("vni", "test", owner)
    allocator.release_all("test", owner)
    allocator.release_all("test", owner)
    assert not PoolAllocation.objects.filter(pool_name="vni", value=value).exists()


def test_rested_rows_are_reaped_and_others_stay(guest):
    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert guest.run(pool_allocations.run) == {"values": 0, "addresses": 0}
    Address.objects.filter(kind="deletion-halo").update(released_at=FromNow(-400))
    PoolAllocation.objects.filter(owner_uuid=None).update(expires_at=FromNow(-1))
    assert guest.run(pool_allocations.run) == {"values": 2, "addresses": 1}


def told(owner):
    """[(message, extra)] of the owner's events, in order."""
    mine = EventObject.objects.filter(object_uuid=owner).values("event_uuid")
    return list(Event.objects.filter(pk__in=mine).order_by("at", "pk").values_list("message", "extra"))


def shown(name, pool):
    return REGISTRY.get_sample_value(name, {"pool": pool}) or 0


def test_ga_8_an_owner_is_told_of_each_value_that_it_got_gave_back_or_lost_by_time(guest):
    owner, leasing, pool = uuid.uuid4(), uuid.uuid4(), f"port/{guest.home.pk}"
    port = guest.run(allocator.allocate, pool, "instance", owner)
    guest.run(allocator.release, pool, port)
    guest.run(allocator.release, pool, port)
    lease = guest.run(allocator.allocate, "vni", "network", leasing, ttl=-1)
    assert guest.run(pool_allocations.run)["values"] == 1
    assert told(owner) == [
        ("port allocated", {"pool": pool, "value": port}),
        ("port released", {"pool": pool, "value": port}),
    ]
    assert told(leasing) == [
        ("vni allocated", {"pool": "vni", "value": lease}),
        ("vni reaped", {"pool": "vni", "value": lease}),
    ]


def test_ga_8_an_instance_is_told_of_its_ports_and_cid(guest):
    values = {extra["value"] for message, extra in told(guest.instance.pk) if message.endswith(" allocated")}
    row = guest.instance
    assert values == {row.console_port, row.vdi_port, row.vsock_cid}


def test_ga_8_how_full_pools_are_how_often_values_were_taken_and_when_none_was_left(guest, monkeypatch):
    monkeypatch.setattr(allocator, "pool", lambda name: allocator.Pool(1, 3))
    PoolAllocation.objects.filter(pool_name="vni").delete()
    before = {name: shown(name, "vni") for name in ("resource_pool_retries_total", "resource_pool_exhausted_total")}
    for _ in range(3):
        guest.run(allocator.allocate, "vni", "network", uuid.uuid4())
    with pytest.raises(PoolExhausted):
        guest.run(allocator.allocate, "vni", "network", uuid.uuid4())
    assert shown("resource_pool_retries_total", "vni") - before["resource_pool_retries_total"] >= 3
    assert shown("resource_pool_exhausted_total", "vni") - before["resource_pool_exhausted_total"] == 1
    guest.run(pool_allocations.run)
    assert (shown("resource_pool_used", "vni"), shown("resource_pool_size", "vni")) == (3, 3)

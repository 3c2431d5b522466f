"""pool_allocations: what has rested long enough is free again (GA-7, IP-4)."""

import uuid

from sftasks.operations import instance_delete
from sftasks.reconcilers import pool_allocations
from sfweb.domain import allocator
from sfweb.models import Address, PoolAllocation
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

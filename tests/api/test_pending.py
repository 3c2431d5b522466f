"""What views say of an object's operations and addresses (CO-4, CO-5, IP-5), and what the pools' table refuses (GA-1)."""

import uuid

import pytest
from django.db import IntegrityError, transaction

from sfweb.domain import ipam
from sfweb.models import Address, Operation, OperationTarget, PoolAllocation
from sfweb.models.fields import FromNow
from tests.api.conftest import Person
from tests.api.world import World

pytestmark = pytest.mark.django_db


def an_operation(world: World, state: str, *, age: float = 0.0, observational: bool = False) -> Operation:
    made = Operation.objects.create(
        kind="instance_power", object_key=str(uuid.uuid4()), state=state, observational=observational
    )
    OperationTarget.objects.create(operation=made, target_type="instance", target_uuid=world.instance.uuid)
    Operation.objects.filter(pk=made.pk).update(created_at=FromNow(-age))
    return made


def test_co_4_a_later_ended_operation_never_masks_an_earlier_open_one(world: World, owner: Person):
    OperationTarget.objects.all().delete()
    address = f"/instances/{world.instance.uuid}"
    assert owner.get(address).json()["has_pending_operations"] is False
    running = an_operation(world, "running", age=60)
    ended = an_operation(world, "succeeded", age=30)
    view = owner.get(address).json()
    assert view["has_pending_operations"] is True
    assert view["last_cluster_operation"]["op_uuid"] == str(ended.pk), "CO-5: the newest of any state"
    Operation.objects.filter(pk=running.pk).update(state="failed")
    assert owner.get(address).json()["has_pending_operations"] is False


def test_cv_1_an_operation_that_only_looks_is_neither(world: World, owner: Person):
    OperationTarget.objects.all().delete()
    an_operation(world, "running", observational=True)
    view = owner.get(f"/instances/{world.instance.uuid}").json()
    assert (view["has_pending_operations"], view["last_cluster_operation"]) == (False, None)


def test_ip_5_every_row_is_listed_with_type_user_and_comment(world: World, owner: Person):
    Address.objects.filter(network=world.network).delete()
    ipam.open_block(world.network)
    holder = uuid.uuid4()
    taken = ipam.reserve_random(world.network, "instance", "interface", holder)
    gone = uuid.uuid4()
    rested = ipam.reserve_random(world.network, "instance", "interface", gone)
    ipam.release_owned(gone)
    rows = {row["address"]: row for row in owner.get(f"/networks/{world.network.uuid}/addresses").json()}
    assert len(rows) == 5
    assert (rows[taken]["type"], rows[taken]["user"][1]) == ("instance", str(holder))
    assert (rows[rested]["type"], rows[rested]["user"]) == ("deletion-halo", [])
    assert all({"address", "type", "user", "comment", "when"} <= set(row) for row in rows.values())


def test_ga_1_a_value_of_a_pool_is_taken_once_and_has_an_owner_and_an_end():
    values = {"pool_name": "vni", "value": 7, "owner_type": "network", "owner_uuid": uuid.uuid4()}
    row = PoolAllocation.objects.create(**values)
    assert (row.allocated_at is not None, row.expires_at) == (True, None)
    with pytest.raises(IntegrityError), transaction.atomic():
        PoolAllocation.objects.create(**values)
    PoolAllocation.objects.create(**{**values, "pool_name": "vsock-cid"})

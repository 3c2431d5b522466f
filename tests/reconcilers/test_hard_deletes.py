"""hard_deletes: rows of what is long gone, and never of what a node may still hold."""

import pytest

from sftasks.operations import artifact_delete, instance_delete, network_delete
from sftasks.reconcilers import hard_deletes
from sfweb.domain.callers import CLUSTER
from sfweb.domain.namespaces import create_namespace, delete_namespace
from sfweb.errors import Forbidden
from sfweb.models import (
    Artifact,
    Instance,
    Interface,
    Namespace,
    Network,
    NodeObject,
    Operation,
    OperationDependency,
    OperationTarget,
    PoolAllocation,
)
from sfweb.models.fields import FromNow


def delete_all(cluster):
    cluster.ask(instance_delete.request, cluster.caller, cluster.instance)
    cluster.settle()
    cluster.ask(network_delete.request, cluster.caller, cluster.network)
    cluster.settle()


def make_old():
    for model in (Instance, Network, Artifact):
        model.objects.filter(state="deleted").update(deleted_at=FromNow(-10_000))


def test_rows_stay_for_an_hour_and_then_go_with_their_values(guest):
    delete_all(guest)
    guest.run(hard_deletes.run)
    assert Instance.objects.filter(pk=guest.instance.pk).exists()
    make_old()
    guest.run(hard_deletes.run)
    guest.run(hard_deletes.run)
    assert not Instance.objects.filter(pk=guest.instance.pk).exists()
    assert not Network.objects.filter(pk=guest.network.pk).exists()
    assert not Interface.objects.exists()
    assert not PoolAllocation.objects.filter(pool_name="vni").exists()


def test_en_12_a_residue_keeps_its_row(guest):
    delete_all(guest)
    NodeObject.objects.filter(object_type="instance").update(applied_wanted="present")
    make_old()
    guest.run(hard_deletes.run)
    assert Instance.objects.filter(pk=guest.instance.pk).exists()


def test_co_13_ended_operations_stay_seven_days_and_open_ones_for_ever(guest):
    ended = Operation.objects.filter(state="succeeded").count()
    Operation.objects.update(finished_at=FromNow(-6 * 86400))
    guest.run(hard_deletes.run)
    assert Operation.objects.filter(state="succeeded").count() == ended
    Operation.objects.filter(state="succeeded").update(finished_at=FromNow(-8 * 86400))
    for _ in range(5):
        guest.run(hard_deletes.run)
    assert not Operation.objects.filter(state="succeeded").exists()


def test_ro_12_a_row_that_cannot_go_does_not_keep_the_others(guest):
    delete_all(guest)
    make_old()
    works = Operation.objects.create(kind="instance_on_node", object_key=f"instance:{guest.instance.pk}")
    OperationTarget.objects.create(operation=works, target_type="instance", target_uuid=guest.instance.pk)
    counts = guest.run(hard_deletes.run)
    assert counts["instances"] == 0
    assert Instance.objects.exists(), "the operation that works on it would not find it"
    Operation.objects.filter(state="waiting").update(state="cancelled")
    assert guest.run(hard_deletes.run)["instances"] == 1
    assert guest.run(hard_deletes.run)["networks"] in (0, 1)
    assert not Network.objects.filter(pk=guest.network.pk).exists()


def test_a_deleted_namespace_goes_when_no_row_speaks_of_it_and_its_name_is_free(guest):
    tenant = Namespace.objects.get(name="tenant")
    delete_all(guest)
    for image in Artifact.objects.filter(namespace=tenant):
        guest.ask(artifact_delete.request, CLUSTER, image)
    guest.settle()
    make_old()
    guest.run(hard_deletes.run)
    guest.run(hard_deletes.run)
    delete_namespace(CLUSTER, tenant)
    Namespace.objects.filter(pk=tenant.pk).update(deleted_at=FromNow(-10_000))
    assert guest.run(hard_deletes.run)["namespaces"] == 0, "its operations are kept for seven days"
    with pytest.raises(Forbidden):
        create_namespace(CLUSTER, "tenant")
    OperationDependency.objects.all().delete()
    Operation.objects.all().delete()
    assert guest.run(hard_deletes.run)["namespaces"] == 1
    assert create_namespace(CLUSTER, "tenant").pk != tenant.pk

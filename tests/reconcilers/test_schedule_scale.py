"""Many schedules that are due at one moment: all of them are operations soon, and each of them once (RO-4, RO-5).

`PROVE=1`: ten thousand on a hundred nodes. The goal is a minute; a quiet machine of two cores is faster than this test asks.
"""

import os
import time

import pytest

from sftasks import celery
from sftasks.reconcilers import schedules as reconciler
from sfweb.models import Disk, Instance, Namespace, Operation, Schedule, Tick
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import State
from tests.api.world import make_node
from tests.factories import make_namespace

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True), pytest.mark.timeout(400)]
PROVE = os.environ.get("PROVE") == "1"
MANY, NODES, NAMESPACES = (10_000, 100, 100) if PROVE else (1_000, 20, 20)
SECONDS = 60.0 * MANY / 10_000 * (1 if PROVE else 3)
"""Other work may keep the machine busy where this is one of many tests."""


@pytest.fixture
def crowd(monkeypatch):
    """So many instances with a daily schedule each, over nodes and namespaces; messages to nodes are not delivered."""
    monkeypatch.setattr(celery, "ring", len)
    nodes = [make_node(f"n{number}") for number in range(NODES)]
    owners = [Namespace.objects.get(name=make_namespace(f"t{number}").namespace) for number in range(NAMESPACES)]
    instances = [
        Instance(
            namespace=owners[number % NAMESPACES],
            name=f"i{number}",
            state=State.CREATED,
            node=nodes[number % NODES],
            cpus=1,
            memory_mb=64,
        )
        for number in range(MANY)
    ]
    Instance.objects.bulk_create(instances, batch_size=1000)
    disks = [Disk(instance=row, position=0, device="vda", bus="virtio", kind="disk", size_gb=1) for row in instances]
    Disk.objects.bulk_create(disks, batch_size=1000)
    schedules = [
        Schedule(
            namespace=row.namespace,
            instance=row,
            name="nightly",
            kind="snapshot",
            arguments={"all": True, "max_versions": 3},
            cron="0 3 * * *",
            next_tick=FromNow(-5),
        )
        for row in instances
    ]
    Schedule.objects.bulk_create(schedules, batch_size=1000)


def test_ro_5_all_that_are_due_at_three_are_operations_within_their_time(crowd, monkeypatch):
    monkeypatch.setattr(reconciler, "ADVANCING_SECONDS", 3.0)
    began, passes = time.monotonic(), 0
    while Schedule.objects.filter(next_tick__lte=UtcNow()).exists():
        counts = reconciler.run()
        passes += 1
        if Schedule.objects.filter(next_tick__lte=UtcNow()).exists():
            assert counts["due"], "a pass that does nothing"
    took = time.monotonic() - began
    print(f"{MANY} due, {took:.1f} s, {took / MANY * 1000:.2f} ms each, {passes} passes")
    monkeypatch.setattr(reconciler, "ADVANCING_SECONDS", -1.0)
    began = time.monotonic()
    assert reconciler.run() == {"settled": 0, "withdrawn": 0, "deleted": 0, "due": 0, "started": 0}
    print(f"a pass with nothing to do: {time.monotonic() - began:.3f} s")
    assert Operation.objects.filter(kind="instance_snapshot").count() == MANY
    assert Tick.objects.filter(state="started").count() == MANY
    assert took < SECONDS

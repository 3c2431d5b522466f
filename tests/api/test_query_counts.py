"""Every list and every object's view costs the same number of queries at 1, 10 and 200 rows (AQ-1, CV-2)."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sfweb.api.base import MOST_ROWS
from sfweb.models import (
    Address,
    AgentOperation,
    Artifact,
    ArtifactGrant,
    ArtifactVersion,
    Blob,
    BlobLocation,
    Disk,
    Event,
    EventObject,
    Instance,
    Interface,
    Key,
    Metadata,
    Namespace,
    NamespaceClaim,
    Network,
    Node,
    NodeCapacity,
    Operation,
    OperationTarget,
    PlacementReservation,
    SnapshotSet,
    Step,
    Tick,
    Trust,
)
from sfweb.models.fields import FromNow
from sfweb.models.state import State
from tests.api.world import Person, World, make_schedule

SIZES = (1, 10, 200)
Grow = Callable[[World, int, int], None]


def grow_instances(world: World, start: int, stop: int) -> None:
    rows = [
        Instance(namespace=world.owner, name=f"i{n}", state=State.CREATED, node=world.node, cpus=1, memory_mb=64)
        for n in range(start, stop)
    ]
    Instance.objects.bulk_create(rows)
    Disk.objects.bulk_create(
        [Disk(instance=row, position=0, device="vda", bus="virtio", kind="disk", blob=world.blob) for row in rows]
    )
    Interface.objects.bulk_create(
        [Interface(network=world.network, instance=row, mac=f"m{row.uuid.hex[:15]}", order=0) for row in rows]
    )
    Metadata.objects.bulk_create(
        [Metadata(object_type="instance", object_uuid=row.uuid, key="a", value=1) for row in rows]
    )


def grow_networks(world: World, start: int, stop: int) -> None:
    Network.objects.bulk_create(
        [
            Network(namespace=world.owner, name=f"n{n}", state=State.CREATED, netblock="10.1.0.0/24", vni=1000 + n)
            for n in range(start, stop)
        ]
    )


def grow_blobs(world: World, start: int, stop: int) -> list[Blob]:
    blobs = [Blob(state=State.CREATED, size=n, sha512=uuid.uuid4().hex) for n in range(start, stop)]
    Blob.objects.bulk_create(blobs)
    BlobLocation.objects.bulk_create([BlobLocation(blob=blob, node=world.node) for blob in blobs])
    return blobs


def grow_artifacts(world: World, start: int, stop: int) -> None:
    rows = [
        Artifact(namespace=world.owner, name=f"a{n}", source_url=f"http://e.com/{n}", state=State.CREATED)
        for n in range(start, stop)
    ]
    Artifact.objects.bulk_create(rows)
    ArtifactVersion.objects.bulk_create(
        [
            ArtifactVersion(artifact=row, index=1, blob=blob)
            for row, blob in zip(rows, grow_blobs(world, start, stop), strict=True)
        ]
    )


def grow_labels(world: World, start: int, stop: int) -> None:
    grow_artifacts(world, start, stop)
    Artifact.objects.filter(namespace=world.owner).exclude(pk=world.artifact.pk).update(kind="label")


def grow_grants(world: World, start: int, stop: int) -> None:
    rows = [Namespace(name=f"granted{n}") for n in range(start, stop)]
    Namespace.objects.bulk_create(rows)
    ArtifactGrant.objects.bulk_create([ArtifactGrant(artifact=world.artifact, namespace=row) for row in rows])


def grow_versions(world: World, start: int, stop: int) -> None:
    ArtifactVersion.objects.bulk_create(
        [
            ArtifactVersion(artifact=world.artifact, index=2 + n, blob=blob)
            for n, blob in enumerate(grow_blobs(world, start, stop), start)
        ]
    )


def grow_schedules(world: World, start: int, stop: int) -> None:
    for n in range(start, stop):
        make_schedule(world.instance, f"s{n}")


def grow_ticks(world: World, start: int, stop: int) -> None:
    Tick.objects.bulk_create([Tick(schedule=world.schedule, due=FromNow(-n)) for n in range(start, stop)])


def grow_nodes(world: World, start: int, stop: int) -> None:
    nodes = [Node(name=f"x{n}", state=State.CREATED) for n in range(start, stop)]
    Node.objects.bulk_create(nodes)
    NodeCapacity.objects.bulk_create([NodeCapacity(node=node) for node in nodes])


def grow_reservations(world: World, start: int, stop: int) -> None:
    rows = [
        Instance(namespace=world.owner, name=f"r{n}", state=State.CREATED, node=world.node, cpus=1, memory_mb=64)
        for n in range(start, stop)
    ]
    Instance.objects.bulk_create(rows)
    PlacementReservation.objects.bulk_create(
        [PlacementReservation(instance=row, node=world.node, cpus=1, memory_mb=64, disk_gb=1) for row in rows]
    )


def grow_claims(world: World, start: int, stop: int) -> None:
    size = {"limit_cpus": 1, "limit_memory_mb": 1, "limit_disk_gb": 1}
    NamespaceClaim.objects.bulk_create(
        [NamespaceClaim(namespace=world.owner, expires_at=FromNow(60), **size) for _ in range(start, stop)]
    )


def grow_namespaces(world: World, start: int, stop: int) -> None:
    rows = [Namespace(name=f"ns{n}") for n in range(start, stop)]
    Namespace.objects.bulk_create(rows)
    Trust.objects.bulk_create([Trust(namespace=row, trusted=world.owner) for row in rows])


def grow_operations(world: World, start: int, stop: int) -> None:
    rows = [
        Operation(kind="instance_power", namespace=world.owner, object_key=f"instance:{world.instance.uuid}")
        for _ in range(start, stop)
    ]
    Operation.objects.bulk_create(rows)
    OperationTarget.objects.bulk_create(
        [OperationTarget(operation=row, target_type="instance", target_uuid=world.instance.uuid) for row in rows]
    )
    Step.objects.bulk_create(
        [
            Step(
                operation=row,
                stage=0,
                node=world.node,
                action="ensure_instance",
                object_type="instance",
                object_uuid=world.instance.uuid,
            )
            for row in rows
        ]
    )


def grow_events(world: World, start: int, stop: int) -> None:
    events = [Event(type="audit", message=str(n)) for n in range(start, stop)]
    Event.objects.bulk_create(events)
    EventObject.objects.bulk_create(
        [
            EventObject(
                object_type="instance", object_uuid=world.instance.uuid, event_uuid=event.uuid, event_type="audit"
            )
            for event in events
        ]
    )


def grow_addresses(world: World, start: int, stop: int) -> None:
    Address.objects.bulk_create(
        [
            Address(
                network=world.network,
                value=0x0A000010 + n,
                kind="instance",
                owner_type="interface",
                owner_uuid=world.interface.uuid,
            )
            for n in range(start, stop)
        ]
    )


def grow_interfaces(world: World, start: int, stop: int) -> None:
    Interface.objects.bulk_create(
        [
            Interface(network=world.network, instance=world.instance, mac=f"mac {n}", order=n + 1)
            for n in range(start, stop)
        ]
    )


def grow_snapshots(world: World, start: int, stop: int) -> None:
    namespace, instance = world.owner, world.instance
    sets = [
        SnapshotSet(namespace=namespace, instance_uuid=instance.uuid, instance_name="one", state=State.CREATED)
        for _ in range(start, stop)
    ]
    SnapshotSet.objects.bulk_create(sets)
    artifact = world.snapshot.versions.get().artifact
    ArtifactVersion.objects.bulk_create(
        [
            ArtifactVersion(artifact=artifact, index=n, blob=blob, snapshot_set=made, device="vda")
            for n, (made, blob) in enumerate(zip(sets, grow_blobs(world, start, stop), strict=True), start + 2)
        ]
    )


def grow_agent_operations(world: World, start: int, stop: int) -> None:
    AgentOperation.objects.bulk_create(
        [
            AgentOperation(instance=world.instance, namespace=world.owner, operation=world.operation)
            for _ in range(start, stop)
        ]
    )


def grow_keys(world: World, start: int, stop: int) -> None:
    Key.objects.bulk_create(
        [Key(namespace=world.owner, name=f"key{n}", digest="x", nonce=str(n)) for n in range(start, stop)]
    )


def grow_steps(world: World, start: int, stop: int) -> None:
    Step.objects.bulk_create(
        [
            Step(
                operation=world.operation,
                stage=n,
                node=world.node,
                action="ensure_instance",
                object_type="instance",
                object_uuid=world.instance.uuid,
            )
            for n in range(start, stop)
        ]
    )


def grow_metadata(world: World, start: int, stop: int) -> None:
    Metadata.objects.bulk_create(
        [
            Metadata(object_type="instance", object_uuid=world.instance.uuid, key=f"m{n}", value=n)
            for n in range(start, stop)
        ]
    )


LISTS: list[tuple[str, str, Grow]] = [
    ("owner", "/instances", grow_instances),
    ("system", "/instances", grow_instances),
    ("owner", "/networks", grow_networks),
    ("owner", "/artifacts", grow_artifacts),
    ("other", "/artifacts", grow_artifacts),
    ("owner", "/labels", grow_labels),
    ("system", "/labels", grow_labels),
    ("owner", "/artifacts/ARTIFACT/grants", grow_grants),
    ("owner", "/artifacts/ARTIFACT/versions", grow_versions),
    ("owner", "/artifacts/ARTIFACT", grow_versions),
    ("system", "/blobs", grow_blobs),
    ("system", "/nodes", grow_nodes),
    ("system", "/admin/reservations", grow_reservations),
    ("system", "/auth/namespaces/owner/claims", grow_claims),
    ("system", "/admin/reservations?limit=1000&state=claimed", grow_reservations),
    ("owner", "/auth/namespaces", grow_namespaces),
    ("system", "/auth/namespaces", grow_namespaces),
    ("owner", "/operations?limit=1000", grow_operations),
    ("owner", "/clusteroperations?limit=1000&target_object_type=instance&target_uuid=INSTANCE", grow_operations),
    ("owner", "/instances/INSTANCE", grow_operations),
    ("owner", "/instances/INSTANCE/events?limit=1000", grow_events),
    ("owner", "/instances/INSTANCE/interfaces", grow_interfaces),
    ("owner", "/instances/INSTANCE/agentoperations?all=true", grow_agent_operations),
    ("owner", "/instances/INSTANCE/snapshot", grow_snapshots),
    ("owner", "/snapshots", grow_snapshots),
    ("owner", "/recurring_operations", grow_schedules),
    ("owner", "/recurring_operations?limit=1000&state=created&order=-next_tick", grow_schedules),
    ("owner", "/recurring_operations/SCHEDULE/ticks", grow_ticks),
    ("owner", "/networks/NETWORK/interfaces", grow_interfaces),
    ("owner", "/networks/NETWORK/addresses", grow_addresses),
    # pages of them, and what has filters and orders
    ("owner", "/instances?limit=1000&state=created&order=-name", grow_instances),
    ("system", "/networks?limit=1000&namespace=owner", grow_networks),
    ("owner", "/artifacts?limit=1000&artifact_type=image", grow_artifacts),
    ("system", "/blobs?limit=1000&state=created", grow_blobs),
    ("owner", "/instances/INSTANCE/clusteroperations?all=true&limit=1000", grow_operations),
    ("owner", "/instances/INSTANCE/operations?limit=1000", grow_operations),
    ("owner", "/auth/namespaces/owner/keys?limit=1000", grow_keys),
    # one object, however much hangs on it
    ("owner", "/instances/INSTANCE", grow_interfaces),
    ("owner", "/instances/INSTANCE", grow_snapshots),
    ("owner", "/networks/NETWORK", grow_interfaces),
    ("owner", "/networks/NETWORK", grow_addresses),
    ("owner", "/artifacts/ARTIFACT", grow_grants),
    ("owner", "/blobs/BLOB", grow_versions),
    ("owner", "/blobs/BLOB", grow_instances),
    ("system", "/nodes/n1", grow_instances),
    ("owner", "/interfaces/INTERFACE", grow_interfaces),
    ("owner", "/snapshots/SNAPSHOT", grow_snapshots),
    ("owner", "/operations/OPERATION", grow_steps),
    ("owner", "/clusteroperations/instance_create/OPERATION", grow_steps),
    ("owner", "/operations/OPERATION/events?limit=1000", grow_events),
    ("owner", "/auth/namespaces/owner", grow_keys),
    ("owner", "/instances/INSTANCE/metadata", grow_metadata),
]
MOST = 16
"""No list needs more queries than this."""


@pytest.mark.parametrize(("who", "path", "grow"), LISTS, ids=lambda part: getattr(part, "__name__", part))
def test_a_list_costs_the_same_at_any_length(world: World, who: str, path: str, grow: Grow):
    person: Person = world.person(who)
    names: dict[str, Any] = {
        "INSTANCE": world.instance.uuid,
        "ARTIFACT": world.artifact.uuid,
        "NETWORK": world.network.uuid,
        "BLOB": world.blob.uuid,
        "INTERFACE": world.interface.uuid,
        "SNAPSHOT": world.snapshot.uuid,
        "OPERATION": world.operation.uuid,
        "SCHEDULE": world.schedule.uuid,
    }
    for name, value in names.items():
        path = path.replace(name, str(value))
    costs, lengths, before = [], [], 0
    for size in SIZES:
        grow(world, before, size)
        before = size
        with CaptureQueriesContext(connection) as asked:
            answer = person.get(path)
        assert answer.status_code == 200
        told = answer.json()
        costs.append(len(asked))
        lengths.append(len(told) if isinstance(told, list) else 0)
    assert len(set(costs)) == 1, costs
    assert costs[0] <= MOST
    assert lengths[0] == 0 or lengths[-1] >= SIZES[-1] or (who, grow) == ("other", grow_artifacts)


def test_aq_3_what_a_list_needs_beside_its_rows_is_asked_at_once_and_fits_a_packet(world: World):
    """Not by chunks of 500: 10,000 rows cost as many statements as one (P10), the longest of half a megabyte."""
    costs, longest = [], 0
    for start, stop in ((0, 1), (1, 1200)):
        grow_instances(world, start, stop)
        with CaptureQueriesContext(connection) as asked:
            told = world.person("owner").get("/instances").json()
        assert len(told) >= stop
        assert all(
            len(view["interfaces"]) == 1 == len(view["disk_spec"]) for view in told if view["name"][1:].isdigit()
        )
        costs.append(len(asked))
        longest = max(len(query["sql"]) for query in asked.captured_queries)
    assert costs[0] == costs[1] <= 7
    assert longest / 1200 * MOST_ROWS < 2**20, "MariaDB takes 16 MiB by default"

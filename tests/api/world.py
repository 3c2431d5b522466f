"""A small cluster's rows, and somebody to ask for them."""

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any

import bcrypt
from django.http import HttpResponse
from django.test import Client

from sfweb.api.auth import make_token
from sfweb.domain.blob_copies import remember
from sfweb.domain.keys import ProvenKey
from sfweb.models import (
    FLOATING,
    Address,
    AgentOperation,
    Artifact,
    ArtifactVersion,
    Blob,
    Disk,
    Instance,
    Interface,
    Key,
    Metadata,
    Namespace,
    Network,
    Node,
    NodeCapacity,
    NodeCredential,
    Operation,
    OperationTarget,
    PlacementReservation,
    Schedule,
    SnapshotSet,
    Tick,
    Trust,
    Upload,
)
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import OperationState, State
from tests.api.described import contradiction
from tests.api.fake_bytes import KEY

SHA512 = "ab" * 64
OTHER_HASHES = {"sha1": "ab" * 20, "sha256": "ab" * 32, "xxh128": "ab" * 16}
SECRET = "the secret of every key here"
DIGEST = bcrypt.hashpw(base64.b64encode(hashlib.sha256(SECRET.encode()).digest()), bcrypt.gensalt(4)).decode()


def make_namespace(name: str, *trusted: Namespace) -> Namespace:
    row = Namespace.objects.create(name=name)
    Key.objects.create(namespace=row, name="k", digest=DIGEST, nonce=f"nonce of {name}")
    Trust.objects.bulk_create([Trust(namespace=row, trusted=other) for other in trusted])
    return row


def token_of(namespace: Namespace, key: str = "k") -> str:
    row = Key.objects.get(namespace=namespace, name=key)
    proven = ProvenKey(
        uuid=row.uuid, name=key, nonce=row.nonce, namespace=namespace.name, namespace_uuid=namespace.uuid
    )
    return make_token(proven)[0]


@cache
def _client() -> Client:
    return Client()  # one for all: making the middleware costs more than most requests


@dataclass(frozen=True)
class Person:
    """Speaks JSON on every verb, as the public client does, and believes no answer that the document does not describe."""

    token: str | None = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        data = body if isinstance(body, bytes | str) else b"" if body is None else json.dumps(body)
        sent = {"HTTP_AUTHORIZATION": f"Bearer {self.token}"} if self.token else {}
        sent |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        client = _client()
        client.cookies.clear()
        answer = client.generic(method, path, data, "application/json", **sent)
        assert not (wrong := contradiction(method, path, answer)), wrong
        return answer

    def get(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.ask("GET", path, body, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.ask("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.ask("PUT", path, body, **headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.ask("DELETE", path, body, **headers)


class World:
    """Namespaces system, owner (which trusts `trusted`) and other; one of every kind of object, all of them owner's."""

    def __init__(self, byte_port: int = 9) -> None:
        self.system = make_namespace("system")
        self.other = make_namespace("other", self.system)
        self.trusted = make_namespace("trusted", self.system)
        self.owner = make_namespace("owner", self.system, self.trusted)
        self.node = make_node("n1", byte_port)
        self.outside = Network.objects.create(
            uuid=FLOATING,
            namespace=self.system,
            name="floating",
            state=State.CREATED,
            netblock="192.168.20.0/24",
            provide_dhcp=False,
            provide_nat=False,
        )
        self.network = Network.objects.create(
            namespace=self.owner, name="net", state=State.CREATED, netblock="10.0.0.0/24", vni=7
        )
        Address.objects.create(network=self.network, value=0x0A000000, kind="network")
        Address.objects.create(  # 192.168.20.9, routed to a network that is none of these
            network=self.outside, value=0xC0A81409, kind="routed", owner_type="network", owner_uuid=uuid.uuid4()
        )
        self.blob = make_blob(self.node)
        self.instance = make_instance(self.owner, "one", self.node, self.blob)
        self.interface = Interface.objects.create(
            network=self.network,
            instance=self.instance,
            mac="02:00:00:00:00:01",
            address="10.0.0.5",
            order=0,
            state=State.CREATED,
        )
        self.agent_operation = AgentOperation.objects.create(
            instance=self.instance, namespace=self.owner, commands=[{"command": "execute", "commandline": "true"}]
        )
        self.artifact = make_artifact(self.owner, "image", self.blob)
        self.snapshot = make_snapshot(self.instance, self.node)
        self.upload = Upload.objects.create(namespace=self.owner, node=self.node, size=0)
        self.schedule = make_schedule(self.instance)
        self.operation = Operation.objects.create(
            kind="instance_create",
            namespace=self.owner,
            object_key=f"instance:{self.instance.uuid}",
            state=OperationState.WAITING,
            requested_by="owner/k",
            params={"instance": str(self.instance.uuid)},
        )
        OperationTarget.objects.create(operation=self.operation, target_type="instance", target_uuid=self.instance.uuid)

    def person(self, name: str) -> Person:
        """`nobody`, or the caller of one of the namespaces."""
        return Person() if name == "nobody" else Person(token_of(getattr(self, name)))


def make_node(name: str, byte_port: int = 9) -> Node:
    node = Node.objects.create(
        name=name, state=State.CREATED, mesh_address="127.0.0.1", byte_port=byte_port, last_seen=UtcNow()
    )
    NodeCapacity.objects.create(
        node=node, limit_cpus=64, limit_memory_mb=65536, limit_disk_gb=1000, used_disk_gb=5, largest_cpus=32
    )
    NodeCredential.objects.create(node=node, signing_key=KEY, incarnation="i", seen_incarnation="i")
    return node


def make_blob(*holders: Node, size: int = 100, sha512: str = SHA512) -> Blob:
    blob = Blob.objects.create(
        state=State.CREATED, size=size, virtual_size=2**30, format="qcow2", sha512=sha512, fetched_at=UtcNow()
    )
    for node in holders:
        remember(blob, node.pk, {"sha512": sha512, "hashes": OTHER_HASHES})
    return blob


def make_instance(namespace: Namespace, name: str, node: Node, blob: Blob | None = None) -> Instance:
    row = Instance.objects.create(
        namespace=namespace,
        name=name,
        state=State.CREATED,
        node=node,
        cpus=1,
        memory_mb=256,
        observed_power="on",
        console_port=30001,
        vdi_port=30002,
        video={"model": "cirrus", "memory": 16384, "vdi": "spice"},
        side_channels=["sf-agent", "sf-agent2"],
        agent_state="ready",
    )
    Disk.objects.create(
        instance=row, position=0, device="vda", bus="virtio", kind="disk", size_gb=8, base="label:x", blob=blob
    )
    PlacementReservation.objects.create(instance=row, node=node, cpus=1, memory_mb=256, disk_gb=8, state="consumed")
    Metadata.objects.create(object_type="instance", object_uuid=row.uuid, key="a", value="b")
    return row


def make_snapshot(instance: Instance, node: Node) -> SnapshotSet:
    """A set of the instance's one disk."""
    made = SnapshotSet.objects.create(
        namespace=instance.namespace, instance_uuid=instance.uuid, instance_name=instance.name, state=State.CREATED
    )
    artifact = Artifact.objects.create(
        namespace=instance.namespace,
        kind="snapshot",
        name=f"{instance.uuid}/vda",
        source_url=f"sf://instance/{instance.uuid}/vda",
        state=State.CREATED,
        active_key=uuid.uuid4().hex,
    )
    blob = make_blob(node, sha512="5a" * 64)
    ArtifactVersion.objects.create(artifact=artifact, index=1, blob=blob, snapshot_set=made, device="vda")
    return made


def make_schedule(instance: Instance, name: str = "nightly", **columns: Any) -> Schedule:
    """Daily at three, with one tick behind it."""
    values = {
        "kind": "snapshot",
        "arguments": {"all": True},
        "cron": "0 3 * * *",
        "next_tick": FromNow(3600),
        **columns,
    }
    row = Schedule.objects.create(namespace=instance.namespace, instance=instance, name=name, **values)
    Tick.objects.create(schedule=row, due=FromNow(-3600), state="succeeded", finished_at=UtcNow())
    row.refresh_from_db()
    return row


def make_artifact(namespace: Namespace, name: str, blob: Blob, *, shared: bool = False) -> Artifact:
    row = Artifact.objects.create(
        namespace=namespace,
        name=name,
        source_url=f"http://example.com/{name}",
        state=State.CREATED,
        shared=shared,
        active_key=uuid.uuid4().hex,
    )
    ArtifactVersion.objects.create(artifact=row, index=1, blob=blob)
    return row

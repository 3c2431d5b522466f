"""A whole machine in memory, with faults on request: for tests, a dry-run cluster and the simulation of many nodes.

It keeps every promise of `host.Host`. `effects` lists each change that really happened as (verb, object), so that a
test sees an effect that happened twice. With a `path` it lives in a file, may be shared by several processes, and a
process that is killed and started again finds what it held; the effects are then in `<path>.effects`, one a line.
"""

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodeagent.fake_faults import Crash, Faults
from nodeagent.fake_store import FakeStore
from nodeagent.host import BlobFacts, Call, Capacity, DomainEvent, DomainState, HostInventory, Refused, Retry
from nodeagent.specs import BlobSource, BlobSpec, ConfigDrive, DiskSpec, InstanceSpec, NetworkSpec, Power, RouterSpec
from nodeagent.wire import dump

__all__ = ["Crash", "FakeHost"]
IMAGE_BYTES = 16 * 2**20


class FakeHost:
    """`seed` fixes what `unreliable` decides.

    taken_ports   ports that some stranger on the machine holds
    unreadable    parts that the inventory is to fail to enumerate
    damaged       {network: what is wrong} of routers that somebody has tampered with
    """

    def __init__(
        self,
        cpus: int = 16,
        memory_mb: int = 65536,
        disk_gb: int = 1000,
        seed: int = 0,
        path: Path | None = None,
    ) -> None:
        self._capacity = Capacity(cpus=cpus, memory_mb=memory_mb, disk_gb=disk_gb, extra={"acceleration": "fake"})
        self._lock = threading.RLock()
        self._store = FakeStore(path)
        self._sources: dict[str, bytes | Exception] = {}
        self.faults = Faults(seed)
        self._events: queue.SimpleQueue[DomainEvent] = queue.SimpleQueue()
        self.taken_ports: set[int] = set()
        self.unreadable: tuple[str, ...] = ()
        self.damaged: dict[str, str] = {}
        self.fail_next = self.faults.fail_next
        self.delay = self.faults.delay
        self.crash_before = self.faults.crash_before
        self.crash_after = self.faults.crash_after

    @property
    def events(self) -> "queue.SimpleQueue[DomainEvent]":
        return self._events

    def watch(self) -> None:
        """Events are queued always."""

    def forget_attempt(self, token: str) -> None:
        """Nothing here is ever half made."""

    def trim_console_logs(self) -> int:
        return 0

    def close(self) -> None:
        """Holds nothing open."""

    @property
    def effects(self) -> list[tuple[str, str]]:
        """Every change so far, oldest first, over all processes that share the path."""
        with self._lock:
            return self._store.effects()

    @contextmanager
    def _held(self, verb: str) -> Iterator[dict[str, Any]]:
        """The machine's state for one verb; nobody else changes it meanwhile."""
        self.faults.before(verb)
        with self._lock, self._store.exclusive() as held:
            yield held
        self.faults.after(verb)

    def _change(self, verb: str, thing: str, act: Callable[[dict[str, Any]], str]) -> str:
        with self._held(verb) as held:
            change = act(held)
            if change != "unchanged":
                self._store.commit(verb, thing)
        return change

    def _put(self, verb: str, part: str, key: str, value: Any) -> str:
        def act(held: dict[str, Any]) -> str:
            before = held[part].get(key)
            held[part][key] = value
            return "created" if before is None else "unchanged" if before == value else "repaired"

        return self._change(verb, key, act)

    def _drop(self, verb: str, part: str, key: str) -> str:
        return self._change(verb, key, lambda held: "unchanged" if held[part].pop(key, None) is None else "removed")

    def ensure_network(self, spec: NetworkSpec) -> str:
        return self._put("ensure_network", "networks", spec.network, dump(spec))

    def remove_network(self, network: str, vni: int) -> str:
        return self._drop("remove_network", "networks", network)

    def ensure_router(self, spec: RouterSpec) -> str:
        self.damaged.pop(spec.network, None)
        return self._put("ensure_router", "routers", spec.network, dump(spec))

    def remove_router(self, network: str, vni: int) -> str:
        return self._drop("remove_router", "routers", network)

    def ping(self, network: str, vni: int, address: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        with self._held("ping") as held:
            if network not in held["routers"]:
                raise Refused("router.absent", f"no router of network {network} is on this node")
        return (f"PING {address}", "10 packets transmitted, 10 received, 0% packet loss"), ()

    def serve(self, url: str, content: bytes | Exception) -> None:
        """Decide what a URL gives; an unknown URL gives an image that its own text decides."""
        self._sources[url] = content

    def blob(self, blob: str) -> BlobFacts | None:
        with self._held("blob") as held:
            found = held["blobs"].get(blob)
        return BlobFacts(**found) if found else None

    def fetch_blob(self, spec: BlobSpec, source: BlobSource, call: Call) -> BlobFacts:
        if source.peer:
            call.blob_ticket(spec.blob, source.peer)
        content = self._sources.get(source.url, (source.url or spec.blob).encode())
        if isinstance(content, Exception):
            raise content
        return self._store_blob("fetch_blob", spec, self._facts(spec, source, content), call)

    def adopt_upload(self, upload: str, spec: BlobSpec, call: Call) -> BlobFacts:
        facts = self._facts(spec, BlobSource(url=f"upload:{upload}"), upload.encode())
        return self._store_blob("adopt_upload", spec, facts, call)

    def _facts(self, spec: BlobSpec, source: BlobSource, content: bytes) -> BlobFacts:
        sha512 = hashlib.sha512(content).hexdigest()
        if source.peer and spec.sha512:
            sha512 = spec.sha512
        if spec.sha512 not in (None, sha512):
            raise Refused("fetch.checksum", f"blob {spec.blob}: other content than is known of it")
        return BlobFacts(size=spec.size or IMAGE_BYTES, sha512=sha512, format="qcow2", virtual_size=2**30)

    def _store_blob(self, verb: str, spec: BlobSpec, facts: BlobFacts, call: Call) -> BlobFacts:
        call.progress(50)
        self._put(verb, "blobs", spec.blob, asdict(facts))
        return facts

    def remove_blob(self, blob: str) -> str:
        def act(held: dict[str, Any]) -> str:
            users = [instance for instance, disks in held["disks"].items() if blob in disks.values()]
            if users:
                raise Refused("blob.in_use", f"blob {blob} carries a disk of instance {users[0]}")
            return "unchanged" if held["blobs"].pop(blob, None) is None else "removed"

        return self._change("remove_blob", blob, act)

    def disks(self, instance: str) -> Mapping[str, str | None]:
        with self._held("disks") as held:
            return dict(held["disks"].get(instance, {}))

    def create_disk(self, instance: str, disk: DiskSpec, call: Call) -> None:
        def act(held: dict[str, Any]) -> str:
            if disk.blob is not None and disk.blob not in held["blobs"]:
                raise Retry("blob.missing", f"blob {disk.blob} is not on this node")
            held["disks"].setdefault(instance, {})[disk.device] = disk.blob
            return "created"

        self._change("create_disk", f"{instance}/{disk.device}", act)

    def write_config_drive(self, spec: InstanceSpec, drive: ConfigDrive, call: Call) -> None:
        self._put("write_config_drive", "config_drives", spec.instance, drive.hostname)

    def has_config_drive(self, instance: str) -> bool:
        with self._held("has_config_drive") as held:
            return instance in held["config_drives"]

    def remove_instance_files(self, instance: str) -> str:
        def act(held: dict[str, Any]) -> str:
            dropped = [held[part].pop(instance, None) for part in ("disks", "config_drives")]
            return "unchanged" if dropped == [None, None] else "removed"

        return self._change("remove_instance_files", instance, act)

    def domain(self, instance: str) -> DomainState | None:
        with self._held("domain") as held:
            found = held["domains"].get(instance)
        return DomainState(power=found["power"], digest=found["digest"]) if found else None

    def start_domain(self, spec: InstanceSpec, digest: str) -> None:
        power = Power.PAUSED if spec.power == Power.PAUSED else Power.ON
        ports = [spec.console_port, spec.vdi_port]

        def act(held: dict[str, Any]) -> str:
            if spec.instance in held["domains"]:
                raise RuntimeError(f"domain {spec.instance} is there already")
            self._require_free_ports(held, ports)
            held["domains"][spec.instance] = {"power": power, "digest": digest, "ports": ports}
            return "created"

        self._change("start_domain", spec.instance, act)
        self._events.put(DomainEvent(instance=spec.instance, cause="started"))

    def _require_free_ports(self, held: dict[str, Any], ports: list[int]) -> None:
        taken = {port for domain in held["domains"].values() for port in domain["ports"]} | self.taken_ports
        for port in ports:
            if port in taken:
                raise Refused("port.taken", f"port {port} is in use on this node", port=port)

    def stop_domain(self, instance: str) -> str:
        change = self._drop("stop_domain", "domains", instance)
        if change == "removed":
            self._events.put(DomainEvent(instance=instance, cause="cut"))
        return change

    def suspend_domain(self, instance: str) -> None:
        self._set_power("suspend_domain", instance, Power.PAUSED, "paused")

    def resume_domain(self, instance: str) -> None:
        self._set_power("resume_domain", instance, Power.ON, "resumed")

    def _set_power(self, verb: str, instance: str, power: Power, cause: str) -> None:
        def act(held: dict[str, Any]) -> str:
            held["domains"][instance]["power"] = power
            return "repaired"

        self._change(verb, instance, act)
        self._events.put(DomainEvent(instance=instance, cause=cause))

    def reboot_domain(self, instance: str, hard: bool) -> None:
        self._change("reboot_domain", instance, lambda held: "repaired")

    def end_domain(self, instance: str, cause: str) -> None:
        """The guest shuts itself down (cause "guest"), or its process dies ("crashed")."""
        self._drop("end_domain", "domains", instance)
        self._events.put(DomainEvent(instance=instance, cause=cause))

    def power_cut(self) -> None:
        """The whole machine restarts: domains, networks and routers are gone, files stay."""

        def act(held: dict[str, Any]) -> str:
            for part in ("domains", "networks", "routers"):
                held[part].clear()
            return "removed"

        self._change("power_cut", "host", act)

    def inventory(self) -> HostInventory:
        with self._held("inventory") as held:
            instances = {instance: str(Power.OFF) for instance in {**held["disks"], **held["config_drives"]}}
            instances |= {instance: str(domain["power"]) for instance, domain in held["domains"].items()}
            return HostInventory(
                instances=instances,
                networks={network: spec["vni"] for network, spec in held["networks"].items()},
                routers={network: spec["vni"] for network, spec in held["routers"].items()},
                blobs={blob: facts["size"] for blob, facts in held["blobs"].items()},
                unreadable=self.unreadable,
                damaged=dict(self.damaged),
            )

    def capacity(self) -> Capacity:
        with self._held("capacity"):
            return self._capacity

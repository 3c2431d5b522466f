"""A whole machine in memory, with faults on request: for tests, a dry-run cluster and the simulation of many nodes.

It keeps every promise of `host.Host`. `effects` lists each change that really happened as (verb, object), so that a
test sees an effect that happened twice. With a `path` it lives in a file, may be shared by several processes, and a
process that is killed and started again finds what it held; the effects are then in `<path>.effects`, one a line.
"""

import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.fake_faults import Crash
from nodeagent.fake_guests import BOOTED
from nodeagent.fake_moves import FakeMoves
from nodeagent.host import (
    PROGRAMS,
    BlobFacts,
    Call,
    Capacity,
    CommandResult,
    DomainEvent,
    DomainState,
    GuestState,
    HostInventory,
    Refused,
    Retry,
    Transfer,
    Usage,
)
from nodeagent.specs import (
    ConfigDrive,
    DiskSpec,
    InstanceSpec,
    InterfaceSpec,
    NetworkSpec,
    Power,
    RouterSpec,
    disk_device,
)
from nodeagent.wire import dump

__all__ = ["Crash", "FakeHost"]


class FakeHost(FakeMoves):
    """`seed` fixes what `unreliable` decides.

    taken_ports   ports that some stranger on the machine holds
    unreadable    parts that the inventory is to fail to enumerate
    broken_storage  {part: what is wrong with it}
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
        super().__init__(seed, path)
        self._capacity = Capacity(cpus=cpus, memory_mb=memory_mb, disk_gb=disk_gb, extra={"acceleration": "fake"})
        self._events: queue.SimpleQueue[DomainEvent] = queue.SimpleQueue()
        self.taken_ports: set[int] = set()
        self.neighbours = {}
        self.stubborn = set()
        self.unreadable: tuple[str, ...] = ()
        self.broken_storage: dict[str, str] = {}
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

    def forget_attempt(self, token: str, object_key: str) -> None:
        """Nothing here is ever half made."""

    def cpu_fractions(self) -> dict[str, float]:
        return dict.fromkeys(PROGRAMS, 0.01)

    def measured(self) -> dict[str, float]:
        return {"cpus": 0.5, "memory_mb": 1024, "disk_gb": 10}

    def usage(self) -> Usage:
        with self._held("usage") as held:
            carried = {"mesh": {"received_bytes": 512, "sent_bytes": 1024}}
            return Usage(
                instances={instance: {"cpu_seconds": 1.5, "memory_mb": 64} for instance in held["domains"]},
                networks=dict.fromkeys(held["networks"], carried),
            )

    def probe_storage(self) -> dict[str, str]:
        return dict(self.broken_storage)

    def trim_console_logs(self) -> int:
        return 0

    def close(self) -> None:
        """Holds nothing open."""

    def ensure_network(self, spec: NetworkSpec) -> str:
        return self._put("ensure_network", "networks", spec.network, dump(spec))

    def remove_network(self, network: str, vni: int) -> str:
        return self._drop("remove_network", "networks", network)

    def ensure_router(self, spec: RouterSpec) -> str:
        self.damaged.pop(spec.network, None)
        return self._put("ensure_router", "routers", spec.network, dump(spec))

    def specs(self, part: str) -> Mapping[str, dict[str, Any]]:
        """{uuid: the specification it was made of} of "networks" or "routers", for tests."""
        with self._held("specs") as held:
            return dict(held[part])

    def remove_router(self, network: str, vni: int) -> str:
        return self._drop("remove_router", "routers", network)

    def ping(self, network: str, vni: int, address: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        with self._held("ping") as held:
            if network not in held["routers"]:
                raise Refused("router.absent", f"no router of network {network} is on this node")
        return (f"PING {address}", "10 packets transmitted, 10 received, 0% packet loss"), ()

    def write_config_drive(self, spec: InstanceSpec, drive: ConfigDrive, call: Call) -> None:
        self._put("write_config_drive", "config_drives", spec.instance, drive.hostname)

    def has_config_drive(self, instance: str) -> bool:
        with self._held("has_config_drive") as held:
            return instance in held["config_drives"]

    def remove_instance_files(self, instance: str) -> str:
        def act(held: dict[str, Any]) -> str:
            dropped = [held[part].pop(instance, None) for part in ("disks", "sizes", "config_drives")]
            return "unchanged" if dropped == [None] * 3 else "removed"

        return self._change("remove_instance_files", instance, act)

    def domain(self, instance: str) -> DomainState | None:
        with self._held("domain") as held:
            found = held["domains"].get(instance)
        if found is None:
            return None
        return DomainState(
            power=found["power"], digest=found["digest"], disks=tuple(found["disks"]), macs=tuple(found["macs"])
        )

    def start_domain(self, spec: InstanceSpec, digest: str) -> None:
        power = Power.PAUSED if spec.power == Power.PAUSED else Power.ON
        ports = [spec.console_port, spec.vdi_port]

        def act(held: dict[str, Any]) -> str:
            if spec.instance in held["domains"]:
                raise RuntimeError(f"domain {spec.instance} is there already")
            self._require_free_ports(held, ports)
            held["domains"][spec.instance] = {
                "power": power,
                "digest": digest,
                "ports": ports,
                "disks": [disk.file for disk in spec.disks],
                "macs": [card.mac for card in spec.interfaces],
            }
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

    def shut_down_domain(self, instance: str) -> None:
        """The guest ends itself at once, or never."""
        if instance in self.stubborn:
            return
        if self._drop("shut_down_domain", "domains", instance) == "removed":
            self._events.put(DomainEvent(instance=instance, cause="guest"))

    def attach_interface(self, instance: str, interface: InterfaceSpec) -> None:
        self._plug("attach_interface", instance, "macs", interface.mac)

    def detach_interface(self, instance: str, mac: str) -> None:
        self._unplug("detach_interface", instance, "macs", mac)

    def attach_disk(self, instance: str, disk: DiskSpec) -> None:
        self._plug("attach_disk", instance, "disks", disk.file)

    def detach_disk(self, instance: str, device: str) -> None:
        file = next((name for name in self._disks_of(instance) if disk_device(name) == device), device)
        self._unplug("detach_disk", instance, "disks", file)

    def _disks_of(self, instance: str) -> tuple[str, ...]:
        state = self.domain(instance)
        return state.disks if state else ()

    def _plug(self, verb: str, instance: str, part: str, name: str) -> None:
        def act(held: dict[str, Any]) -> str:
            present = self._living(held, instance)[part]
            if name in present:
                raise RuntimeError(f"{name} is in the domain of {instance} already")
            present.append(name)
            return "repaired"

        self._change(verb, f"{instance}/{name}", act)

    def _unplug(self, verb: str, instance: str, part: str, name: str) -> None:
        def act(held: dict[str, Any]) -> str:
            domain = self._living(held, instance)
            if name not in domain[part]:
                return "unchanged"
            if domain["power"] == Power.PAUSED:
                raise Retry("device.busy", f"the guest of {instance} is paused and lets go of nothing")
            domain[part].remove(name)
            return "repaired"

        self._change(verb, f"{instance}/{name}", act)

    def suspend_domain(self, instance: str) -> None:
        self._set_power("suspend_domain", instance, Power.PAUSED, "paused")

    def resume_domain(self, instance: str) -> None:
        self._set_power("resume_domain", instance, Power.ON, "resumed")

    def _set_power(self, verb: str, instance: str, power: Power, cause: str) -> None:
        def act(held: dict[str, Any]) -> str:
            domain = self._living(held, instance)
            if domain["power"] == power == Power.ON:
                raise RuntimeError(f"domain {instance} is already running")
            if domain["power"] == power:
                return "unchanged"
            domain["power"] = power
            return "repaired"

        if self._change(verb, instance, act) == "repaired":
            self._events.put(DomainEvent(instance=instance, cause=cause))

    def reboot_domain(self, instance: str, hard: bool) -> None:
        def act(held: dict[str, Any]) -> str:
            self._living(held, instance)
            return "repaired"

        self._change("reboot_domain", instance, act)

    def _living(self, held: dict[str, Any], instance: str) -> dict[str, Any]:
        if instance not in held["domains"]:
            raise Retry("domain.missing", f"domain {instance} has just gone")
        domain: dict[str, Any] = held["domains"][instance]
        return domain

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

    def guest_states(self) -> Mapping[str, GuestState]:
        with self._held("guest_states") as held:
            talking = [instance for instance in held["domains"] if instance not in self.guests.silent]
        return {instance: GuestState(since=BOOTED, booted=BOOTED) for instance in talking}

    def start_in_guest(self, instance: str, command_line: str) -> int:
        def act(held: dict[str, Any]) -> str:
            self.guests.require(instance, instance in held["domains"])
            return "created"

        self._change("start_in_guest", instance, act)
        return self.guests.start(command_line)

    def result_in_guest(self, instance: str, pid: int) -> CommandResult | None:
        self._require_guest("result_in_guest", instance)
        return self.guests.result(pid)

    def kill_in_guest(self, instance: str, pid: int) -> None:
        self.guests.kill(pid)

    def write_in_guest(self, instance: str, blob: str, target: Transfer, call: Call) -> None:
        self._require_guest("write_in_guest", instance)
        if self.blob(blob) is None:
            raise Retry("blob.missing", f"blob {blob} is not on this node")
        self.guests.files[instance, target.path] = blob.encode()
        self.guests.modes[instance, target.path] = target.mode

    def read_in_guest(self, instance: str, blob: str, source: Transfer, call: Call) -> BlobFacts:
        self._require_guest("read_in_guest", instance)
        return self.keep_blob(blob, self.guests.read(instance, source.path, source.ceiling), call)

    def _require_guest(self, verb: str, instance: str) -> None:
        with self._held(verb) as held:
            self.guests.require(instance, instance in held["domains"])

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

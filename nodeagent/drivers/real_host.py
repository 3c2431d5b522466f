"""The machine itself, behind the `host.Host` protocol: libvirt, qemu-img, files, and whoever has its hand on the net."""

import errno
import ipaddress
import logging
import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from nodeagent.config import Config
from nodeagent.drivers import config_drive, console_log, domain_xml, fetch, firmware, machine
from nodeagent.drivers.acceleration import find as find_acceleration
from nodeagent.drivers.blob_checks import BlobChecks
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.cpu_time import CpuMeter
from nodeagent.drivers.devices import Devices
from nodeagent.drivers.disks import Disks
from nodeagent.drivers.domains import Domains, GraphicsAccess
from nodeagent.drivers.guest_agent import GuestAgents
from nodeagent.drivers.layout import Layout, remove
from nodeagent.drivers.moves import Moves
from nodeagent.drivers.net import Net
from nodeagent.drivers.snapshots import Snapshots
from nodeagent.drivers.storage import Storage
from nodeagent.drivers.usage import UsageMeter
from nodeagent.host import (
    BlobCheck,
    BlobFacts,
    Call,
    Capacity,
    CommandResult,
    DomainEvent,
    DomainState,
    GuestState,
    HostInventory,
    Movement,
    Refused,
    Retry,
    Snapshot,
    Transfer,
    Usage,
)
from nodeagent.nethelper import names
from nodeagent.nethelper.protocol import NetworkError
from nodeagent.specs import (
    BlobSource,
    BlobSpec,
    CapturedDisk,
    ConfigDrive,
    DiskSpec,
    InstanceSpec,
    InterfaceSpec,
    NetworkSpec,
    Power,
    RouterSpec,
)

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class RealHost:
    """Thread-safe; one a process. `acceleration` is kvm or tcg; empty asks the configuration, then the probe."""

    def __init__(self, config: Config, net: Net, acceleration: str = "") -> None:
        self._config = config
        self._cpu = CpuMeter(config)
        self._net = net
        self._given_acceleration = acceleration
        self._layout = Layout(config.state)
        self._layout.prepare()
        self._blobs = Blobs(self._layout, self._fetch_policy)
        self._checks = BlobChecks(self._layout, self._blobs)
        self._disks = Disks(self._layout)
        self._domains = Domains(config.libvirt_uri)
        self._guests = GuestAgents(self._domains, self._blobs)
        self._snapshots = Snapshots(self._layout, self._blobs, self._domains)
        self._devices = Devices(self._domains)
        self._storage = Storage(self._layout)
        self._usage = UsageMeter(self._layout, self._domains, net)
        self._moves = Moves(config, self._layout, self._blobs, self._domains)

    @cached_property
    def acceleration(self) -> str:
        return self._given_acceleration or find_acceleration(
            self._config.acceleration, self._config.state / "acceleration.json"
        )

    @property
    def events(self) -> "queue.SimpleQueue[DomainEvent]":
        return self._domains.events

    @property
    def stuck(self) -> frozenset[str]:
        """The instances whose domain has not answered a call yet."""
        return self._domains.stuck

    def watch(self) -> None:
        self._domains.watch()

    def close(self) -> None:
        self._domains.close()

    def forget_attempt(self, token: str, object_key: str) -> None:
        self._layout.sweep(token)
        kind, _, identity = object_key.partition(":")
        if kind == "instance":
            self._snapshots.thaw_forgotten(identity)

    def cpu_fractions(self) -> dict[str, float]:
        return self._cpu.fractions()

    def trim_console_logs(self) -> int:
        logs = (self._layout.console_log(instance) for instance in self._layout.known_instances())
        return sum(console_log.trim(log) for log in logs)

    def open_graphics(self, instance: str, seconds: int) -> GraphicsAccess:
        return self._domains.open_graphics(instance, seconds)

    def ensure_network(self, spec: NetworkSpec) -> str:
        return self._net.ensure_network(spec).change

    def remove_network(self, network: str, vni: int) -> str:
        return self._net.remove_network(network, vni).change

    def ensure_router(self, spec: RouterSpec) -> str:
        return self._net.ensure_router(spec).change

    def remove_router(self, network: str, vni: int) -> str:
        return self._net.remove_router(network, vni).change

    def ping(self, network: str, vni: int, address: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        try:
            echo = self._net.ping(network, vni, address)
        except NetworkError as error:
            if error.errno != errno.ENOENT:
                raise
            raise Refused("router.absent", str(error)) from error
        return tuple(echo.stdout), tuple(echo.stderr)

    def blob(self, blob: str) -> BlobFacts | None:
        return self._blobs.facts(blob)

    def fetch_blob(self, spec: BlobSpec, source: BlobSource, call: Call) -> BlobFacts:
        return self._blobs.fetch(spec, source, call)

    def adopt_upload(self, upload: str, size: int, spec: BlobSpec, call: Call) -> BlobFacts:
        return self._blobs.adopt(upload, size, spec, call)

    def is_changed(self, url: str, validators: Mapping[str, str]) -> bool:
        return fetch.is_changed(url, self._fetch_policy(), validators)

    def verify_blobs(self, budget: int) -> list[BlobCheck]:
        return self._checks.advance(budget)

    def probe_storage(self) -> Mapping[str, str]:
        return self._storage.probe()

    def remove_blob(self, blob: str) -> str:
        users = self._disks.users_of(blob)
        if users:
            raise Refused("blob.in_use", f"blob {blob} carries a disk of instance {users[0]}")
        return self._blobs.remove(blob)

    def disks(self, instance: str) -> Mapping[str, str | None]:
        return self._disks.present(instance)

    def snapshot_disks(self, instance: str, disks: Sequence[CapturedDisk], quiesce: bool, call: Call) -> Snapshot:
        return self._snapshots.take(instance, disks, quiesce, call)

    def create_disk(self, instance: str, disk: DiskSpec, call: Call) -> None:
        self._disks.create(instance, disk, self._blobs.facts(disk.blob) if disk.blob else None, call)

    def grow_disk(self, instance: str, disk: DiskSpec) -> str:
        size = self._disks.size_to_reach(instance, disk)
        if not size:
            return "unchanged"
        if self.domain(instance) is None:
            self._disks.resize(instance, disk.file, size)
        else:
            self._devices.resize(instance, disk.device, size)
        return "repaired"

    def remove_disk(self, instance: str, file: str) -> str:
        domain = self.domain(instance)
        if domain is not None and file in domain.disks:
            raise RuntimeError(f"{file} is in use by the domain of {instance}")
        return "removed" if remove(self._layout.disk(instance, file)) else "unchanged"

    def write_config_drive(self, spec: InstanceSpec, drive: ConfigDrive, call: Call) -> None:
        mtus = self._mtus(spec.interfaces)
        config_drive.write(
            self._layout.config_drive(spec.instance),
            call.token,
            spec,
            drive,
            [mtus[names.bridge(interface.vni)] for interface in spec.interfaces],
        )

    def has_config_drive(self, instance: str) -> bool:
        return self._layout.config_drive(instance).exists()

    def copy_instance(self, spec: InstanceSpec, peer: str, call: Call, *, disks: bool) -> str:
        return self._moves.copy(spec, peer, call, spec.disks if disks else ())

    def remove_instance_files(self, instance: str) -> str:
        return "removed" if remove(self._layout.instance(instance)) else "unchanged"

    def domain(self, instance: str) -> DomainState | None:
        return self._domains.state(instance)

    def start_domain(self, spec: InstanceSpec, digest: str) -> None:
        _require_supported(spec)
        for disk in spec.disks:
            self._disks.verify_chain(spec.instance, disk)
        self._layout.instance(spec.instance).mkdir(exist_ok=True, mode=0o711)
        console_log.prepare(self._layout.console_log(spec.instance))
        if spec.nvram is not None:
            firmware.prepare(self._layout.nvram(spec.instance), self._layout.blob(spec.nvram), digest)
        document = domain_xml.render(spec, digest, self._surroundings(spec.disks, spec.interfaces))
        try:
            self._domains.start(spec.instance, document, paused=spec.power == Power.PAUSED)
        except Retry:
            raise
        except Exception as error:
            places = ((domain_xml.LOOPBACK, spec.console_port), (self._config.mesh_address, spec.vdi_port))
            machine.explain(spec.memory_mb, places, error)
            raise

    def stop_domain(self, instance: str) -> str:
        return self._domains.stop(instance)

    def shut_down_domain(self, instance: str) -> None:
        self._domains.shut_down(instance)

    def migrate_domain(self, move: Movement, call: Call) -> None:
        self._moves.migrate(move, call)

    def attach_interface(self, instance: str, interface: InterfaceSpec) -> None:
        self._devices.attach(instance, domain_xml.interface_document(interface, self._surroundings((), (interface,))))

    def detach_interface(self, instance: str, mac: str) -> None:
        self._devices.detach_interface(instance, mac)

    def attach_disk(self, instance: str, disk: DiskSpec) -> None:
        self._disks.verify_chain(instance, disk)
        self._devices.attach(instance, domain_xml.disk_document(instance, disk, self._surroundings((disk,), ())))

    def detach_disk(self, instance: str, device: str) -> None:
        self._devices.detach_disk(instance, device)

    def suspend_domain(self, instance: str) -> None:
        self._domains.suspend(instance)

    def resume_domain(self, instance: str) -> None:
        self._domains.resume(instance)

    def reboot_domain(self, instance: str, hard: bool) -> None:
        self._domains.reboot(instance, hard)

    def guest_states(self) -> Mapping[str, GuestState]:
        return self._guests.states()

    def start_in_guest(self, instance: str, command_line: str) -> int:
        return self._guests.start(instance, command_line)

    def result_in_guest(self, instance: str, pid: int) -> CommandResult | None:
        return self._guests.result(instance, pid)

    def kill_in_guest(self, instance: str, pid: int) -> None:
        self._guests.kill(instance, pid)

    def write_in_guest(self, instance: str, blob: str, target: Transfer, call: Call) -> None:
        self._guests.write(instance, blob, target, call)

    def read_in_guest(self, instance: str, blob: str, source: Transfer, call: Call) -> BlobFacts:
        return self._guests.read(instance, blob, source, call)

    def keep_blob(self, blob: str, content: bytes, call: Call) -> BlobFacts:
        return self._blobs.put(blob, content, call.token)

    def inventory(self) -> HostInventory:
        unreadable: list[str] = []

        def part(name: str, read: Callable[[], T], nothing: T) -> T:
            try:
                return read()
            except Exception:
                _LOG.exception("inventory: %s cannot be read", name)
                unreadable.append(name)
                return nothing

        holdings = part("networks", self._net.inventory, None)
        damage = part("routers", self._net.check_routers, None)
        return HostInventory(
            instances=part("instances", self._instances, {}),
            networks=dict(holdings.networks) if holdings else {},
            routers=dict(holdings.routers) if holdings else {},
            blobs=part("blobs", self._layout.known_blobs, {}),
            unreadable=(*unreadable, *(holdings.unreadable if holdings else ())),
            damaged=dict(damage.routers) if damage else {},
        )

    def capacity(self) -> Capacity:
        offered = machine.capacity(self._config.share, self._config.reserve, self._config.state, self.acceleration)
        mtu = machine.device_mtu(self._config.mesh_device)
        return replace(offered, extra={**offered.extra, "mesh_mtu": mtu})

    def measured(self) -> dict[str, float]:
        return machine.measured(self._config.state)

    def usage(self) -> Usage:
        return self._usage.read()

    def _instances(self) -> dict[str, str]:
        """Without the domains nobody knows which instance is off, so both are read or neither counts."""
        running = self._domains.running()
        return {instance: str(Power.OFF) for instance in self._layout.known_instances()} | dict(running)

    def _surroundings(self, disks: Sequence[DiskSpec], interfaces: Sequence[InterfaceSpec]) -> domain_xml.Surroundings:
        return domain_xml.Surroundings(
            layout=self._layout,
            acceleration=self.acceleration,
            mesh_address=self._config.mesh_address,
            formats={disk.blob: self._format(disk.blob) for disk in disks if disk.blob},
            mtus=self._mtus(interfaces),
            spice=self._spice,
            vsock=machine.has_vsock(),
        )

    @cached_property
    def _spice(self) -> bool:
        return self._domains.has_spice("kvm" if self.acceleration == "kvm" else "qemu")

    def _format(self, blob: str) -> str:
        facts = self._blobs.facts(blob)
        if facts is None:
            raise Retry("blob.missing", f"blob {blob} is not on this node")
        return facts.format

    def _mtus(self, interfaces: Sequence[InterfaceSpec]) -> dict[str, int]:
        mtus = {}
        for bridge in {names.bridge(interface.vni) for interface in interfaces}:
            mtu = machine.device_mtu(bridge)
            if mtu is None:
                raise Retry("network.missing", f"bridge {bridge} is not on this node")
            mtus[bridge] = mtu
        return mtus

    def _fetch_policy(self) -> fetch.Policy:
        own = ipaddress.IPv4Network(self._config.mesh_address)
        return fetch.Policy(
            allow=[ipaddress.ip_network(text) for text in self._config.fetch_allow],
            deny=[own, *machine.networks_on(self._config.mesh_device)],
            proxy=self._config.fetch_proxy,
        )


def _require_supported(spec: InstanceSpec) -> None:
    """Raises Refused for what the libvirt and QEMU of this node have not."""
    if spec.uefi and not machine.has_uefi():
        raise Refused("node.unsupported", "no UEFI firmware is installed on this node (package ovmf)")
    if any(disk.bus == "nvme" for disk in spec.disks):
        raise Refused("node.unsupported", "this node's libvirt has no NVMe disks")

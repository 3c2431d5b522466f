"""Domains, as libvirt has them: all are transient, so what is off is only files.

One connection a process, opened at the first use and again when it died. Every call has a deadline; past it the domain
counts as stuck and the caller is told to try again (`domain.stuck`). An absent domain is None only when libvirt said so.
"""

import contextlib
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from xml.etree import ElementTree

import libvirt
import libvirt_qemu

from nodeagent.drivers import domain_xml
from nodeagent.drivers.deadline import Deadlines
from nodeagent.drivers.domain_events import AgentLifecycle, Lifecycle, start_event_loop
from nodeagent.host import DomainEvent, DomainState, Refused, Retry
from nodeagent.specs import Power

T = TypeVar("T")
CALL_SECONDS = 20.0
# The first start after libvirtd came up waits until it has asked QEMU for its features.
START_SECONDS = 90.0
SCREEN_CHUNK = 2**18
SCREEN_BYTES = 2**28
_GONE = frozenset({libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID})
_SILENT = frozenset({libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED})
_LOST = frozenset({libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_NO_CONNECT})
_COUNTED = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
_AGENT_DOMAINS = frozenset({libvirt.VIR_FROM_QEMU})
AGENT_CHANNEL = "devices/channel/target[@name='org.qemu.guest_agent.0']"


@dataclass(frozen=True, kw_only=True)
class GraphicsAccess:
    """Where a graphics client may connect, with which password, for how many seconds from now."""

    protocol: str
    address: str
    port: int
    password: str
    seconds: int


class Domains:
    """Thread-safe. `events` receives DomainEvents once `watch` was called."""

    def __init__(self, uri: str, call_seconds: float = CALL_SECONDS) -> None:
        self._uri = uri
        self._seconds = call_seconds
        self._lock = threading.Lock()
        self._connection: Any = None
        self._watching = False
        self._callbacks: list[int] = []
        self._deadlines = Deadlines("domain.stuck")
        self.events: queue.SimpleQueue[DomainEvent] = queue.SimpleQueue()

    @property
    def stuck(self) -> frozenset[str]:
        return self._deadlines.stuck

    def watch(self) -> None:
        """Queue events from now on; also those of later connections, which are made whenever a call needs one."""
        self._watching = True
        self._deadlines.run("libvirt", self._seconds, self._register)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def state(self, instance: str) -> DomainState | None:
        """None when libvirt knows no running domain of that instance."""

        def read() -> DomainState | None:
            domain = self._find(instance)
            return None if domain is None or not domain.isActive() else _state(domain)

        return self._call(instance, read)

    def running(self) -> Mapping[str, str]:
        """{instance: power} of every domain that is ours, inactive ones too. Raises when they cannot be listed."""

        def read() -> Mapping[str, str]:
            states = {}
            for domain in self._open().listAllDomains(0):
                with _tolerating_absence():
                    state = _state(domain)
                    if state.digest:
                        states[domain.UUIDString()] = state.power if domain.isActive() else str(Power.OFF)
            return states

        return self._call("libvirt", read)

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """{instance: what libvirt counts, by its own names} of running domains; of one that is busy, what needs no waiting."""
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

        def read() -> Mapping[str, Mapping[str, Any]]:
            found = self._open().getAllDomainStats(_COUNTED, flags)
            return {domain.UUIDString(): told for domain, told in found}

        return self._call("libvirt", read)

    def start(self, instance: str, document: str, paused: bool) -> None:
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
        self._deadlines.run(instance, START_SECONDS, lambda: self._translated(lambda: self._create(document, flags)))

    def stop(self, instance: str) -> str:
        """Cut its power, and forget it where somebody made it persistent."""

        def act() -> str:
            domain = self._find(instance)
            if domain is None:
                return "unchanged"
            with _tolerating_absence():
                if domain.isActive():
                    domain.destroy()
            with _tolerating_absence():
                if domain.isPersistent():
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            return "removed"

        return self._call(instance, act)

    def suspend(self, instance: str) -> None:
        self.on(instance, lambda domain: domain.suspend())

    def resume(self, instance: str) -> None:
        self.on(instance, lambda domain: domain.resume())

    def reboot(self, instance: str, hard: bool) -> None:
        """Reset, or press the power button: the guest decides whether and when it comes back."""
        self.on(instance, lambda domain: domain.reset(0) if hard else domain.reboot(libvirt.VIR_DOMAIN_REBOOT_DEFAULT))

    def shut_down(self, instance: str) -> None:
        """Press the power button."""
        with _tolerating_absence():
            self.on(instance, lambda domain: domain.shutdown())

    def open_graphics(self, instance: str, seconds: int) -> GraphicsAccess:
        """Give the graphics a new password that is valid that long (SE-15)."""

        def act(domain: Any) -> GraphicsAccess:
            described = ElementTree.fromstring(domain.XMLDesc(0)).find("devices/graphics")
            if described is None:
                raise RuntimeError(f"domain {instance} has no graphics")
            password = secrets.token_urlsafe(32)[: domain_xml.PASSWORD_LENGTH]
            described.set("passwd", password)
            described.set("passwdValidTo", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + seconds)))
            domain.updateDeviceFlags(ElementTree.tostring(described, encoding="unicode"), 0)
            return GraphicsAccess(
                protocol=described.get("type", ""),
                address=described.get("listen", ""),
                port=int(described.get("port", "0")),
                password=password,
                seconds=seconds,
            )

        return self.on(instance, act)

    def guest_channels(self) -> Mapping[str, bool]:
        """{instance: whether its agent has its end of the channel open} of the running domains that have a channel."""

        def read() -> Mapping[str, bool]:
            found = {}
            for domain in self._open().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                with _tolerating_absence():
                    target = ElementTree.fromstring(domain.XMLDesc(0)).find(AGENT_CHANNEL)
                    if target is not None:
                        found[domain.UUIDString()] = target.get("state") == "connected"
            return found

        return self._call("libvirt", read)

    def ask_guest(self, instance: str, command: Mapping[str, Any], seconds: int) -> Any:
        """What the guest's agent answers to one command within `seconds`.

        Raises Refused("guest.off"), Refused("guest.refused") with what the agent said, or Retry("guest.silent").
        """

        def act() -> Any:
            domain = self._find(instance)
            if domain is None:
                raise Refused("guest.off", f"instance {instance} does not run")
            try:
                return json.loads(libvirt_qemu.qemuAgentCommand(domain, json.dumps(command), seconds, 0))["return"]
            except libvirt.libvirtError as error:
                if error.get_error_code() in _GONE:
                    raise Refused("guest.off", f"instance {instance} does not run") from error
                if error.get_error_code() in _SILENT:
                    raise Retry("guest.silent", f"{command['execute']}: the guest's agent does not answer") from error
                if error.get_error_domain() in _AGENT_DOMAINS:
                    raise Refused("guest.refused", str(error)) from error
                raise

        return self._deadlines.run(f"agent of {instance}", seconds + self._seconds, lambda: self._translated(act))

    def screen(self, instance: str) -> bytes:
        """The picture that its first screen shows, in the format that QEMU gives. Refused("screen.none") without one."""

        def act(domain: Any) -> bytes:
            stream = self._open().newStream(0)
            try:
                domain.screenshot(stream, 0, 0)
            except libvirt.libvirtError as error:
                raise Refused("screen.none", str(error)) from error
            picture = bytearray()
            while chunk := stream.recv(SCREEN_CHUNK):
                picture += chunk
                if len(picture) > SCREEN_BYTES:
                    stream.abort()
                    raise Refused("screen.none", f"the picture has more than {SCREEN_BYTES} bytes")
            stream.finish()
            return bytes(picture)

        return self.on(instance, act)

    def has_spice(self, virtualisation: str) -> bool:
        """Whether QEMU here can show a guest by SPICE; `virtualisation` is kvm or qemu."""

        def read() -> bool:
            document = self._open().getDomainCapabilities(None, "x86_64", "q35", virtualisation)
            values = ElementTree.fromstring(document).iterfind("devices/graphics/enum[@name='type']/value")
            return any(value.text == "spice" for value in values)

        return self._deadlines.run("libvirt", START_SECONDS, lambda: self._translated(read))

    def on(self, instance: str, act: Callable[[Any], T]) -> T:
        """Do something with the domain, within one call's time. Raises Retry("domain.missing") when it has just gone."""

        def work() -> T:
            domain = self._find(instance)
            if domain is None:
                raise Retry("domain.missing", f"domain {instance} has just gone")
            return act(domain)

        return self._call(instance, work)

    def migrate(self, instance: str, seconds: float, act: Callable[[Any], None]) -> None:
        """As `on`, for what takes as long as it takes: other calls about the domain go on beside it."""
        self._deadlines.run(f"move of {instance}", seconds, lambda: act(self._find(instance)))

    def _call(self, thing: str, call: Callable[[], T]) -> T:
        return self._deadlines.run(thing, self._seconds, lambda: self._translated(call))

    def _translated(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except libvirt.libvirtError as error:
            if error.get_error_code() in _LOST and not self._is_alive():
                raise Retry("libvirt.unreachable", str(error)) from error
            raise

    def _create(self, document: str, flags: int) -> None:
        self._open().createXML(document, flags)

    def _find(self, instance: str) -> Any:
        try:
            return self._open().lookupByUUIDString(instance)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _open(self) -> Any:
        """The living connection, a new one when the last died."""
        start_event_loop()
        with self._lock:
            if self._connection is not None and not self._connection.isAlive():
                self._drop()
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> Any:
        connection = libvirt.open(self._uri)
        # The test driver and old daemons have no keep-alive.
        with contextlib.suppress(libvirt.libvirtError):
            connection.setKeepAlive(5, 3)
        if self._watching:
            for event, listener in (
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, Lifecycle(self.events)),
                (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, AgentLifecycle(self.events)),
            ):
                self._callbacks.append(connection.domainEventRegisterAny(None, event, listener, None))
        return connection

    def _register(self) -> None:
        self.close()
        self._translated(self._open)

    def _drop(self) -> None:
        """Let go of the connection; a callback left behind would keep it open for ever."""
        connection, callbacks = self._connection, self._callbacks
        self._connection, self._callbacks = None, []
        for callback in callbacks:
            with contextlib.suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)
        with contextlib.suppress(libvirt.libvirtError):
            if connection is not None:
                connection.close()

    def _is_alive(self) -> bool:
        return self._connection is not None and bool(self._connection.isAlive())


def _state(domain: Any) -> DomainState:
    state, _ = domain.state()
    paused = state in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED)
    power = Power.PAUSED if paused else Power.ON
    document = ElementTree.fromstring(domain.XMLDesc(0))
    return DomainState(
        power=str(power),
        digest=domain_xml.digest_in(document) or "",
        disks=domain_xml.disks_in(document),
        macs=domain_xml.macs_in(document),
    )


@contextlib.contextmanager
def _tolerating_absence() -> Any:
    """A domain may end by itself between looking and acting."""
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise

"""libvirt's event loop, and what its life-cycle events mean.

A callback runs on the loop's thread, so it only puts into a queue and asks libvirt nothing.
"""

import logging
import queue
import threading
import time
from typing import Any

import libvirt

from nodeagent.host import DomainEvent

_LOG = logging.getLogger(__name__)
_LOOP = threading.Lock()
_started = False


def start_event_loop() -> None:
    """Run libvirt's loop for the rest of the process. Must come before the first connection; later calls do nothing."""
    global _started
    with _LOOP:
        if _started:
            return
        _started = True
        libvirt.virEventRegisterDefaultImpl()
        # libvirt prints every failed call by itself otherwise.
        libvirt.registerErrorHandler(lambda context, error: None, None)
        threading.Thread(target=_turn, name="libvirt-events", daemon=True).start()


def _turn() -> None:
    while True:
        if libvirt.virEventRunDefaultImpl() < 0:
            _LOG.error("libvirt's event loop failed one turn")
            time.sleep(1)


class Lifecycle:
    """Translates life-cycle callbacks of one connection into DomainEvents in `events`."""

    def __init__(self, events: "queue.SimpleQueue[DomainEvent]") -> None:
        self._events = events
        self._ended_by_host: set[str] = set()

    def __call__(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        cause = self._cause(domain.UUIDString(), event, detail)
        if cause:
            self._events.put(DomainEvent(instance=domain.UUIDString(), cause=cause))

    def _cause(self, instance: str, event: int, detail: int) -> str:
        if event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN and detail == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST:
            self._ended_by_host.add(instance)
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            return self._stopped(instance, detail)
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and detail == libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR:
            return "disk_error"
        return {
            libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "paused",
            libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
        }.get(event, "")

    def _stopped(self, instance: str, detail: int) -> str:
        # A process that the host's init ended also reports a shutdown, which is no wish of the guest's.
        by_host = instance in self._ended_by_host
        self._ended_by_host.discard(instance)
        if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
            return "crashed" if by_host else "guest"
        return {
            libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
            libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "crashed",
            libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "cut",
        }.get(detail, "")


class AgentLifecycle:
    """Tells that the agent inside a guest has come or gone."""

    def __init__(self, events: "queue.SimpleQueue[DomainEvent]") -> None:
        self._events = events

    def __call__(self, connection: Any, domain: Any, state: int, reason: int, opaque: Any) -> None:
        self._events.put(DomainEvent(instance=domain.UUIDString(), cause="agent"))

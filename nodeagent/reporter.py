"""The process that tells the control plane what is, and hears what is next (EN-4). No Celery in it.

It reports at the interval that the last answer asked for, and at once when somebody rings: after an outcome that could
not be posted, or when a domain changed by itself. What must be looked at now and then is a duty in `nodeagent/duties/`.
"""

import dataclasses
import importlib
import logging
import pkgutil
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from nodeagent import doorbell
from nodeagent.action import actions
from nodeagent.config import Config, Identity
from nodeagent.control import Control, ControlUnavailable, NodeDeleted, Refusal
from nodeagent.host import DomainEvent, Machine
from nodeagent.journal import Journal
from nodeagent.wire import Inventory, LeaseRenewal, Malformed, NodeEvent, Report, ReportAnswer, mesh_digest
from nodeagent.worker import report_bell, take_answer

log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0
TOLD_AT_ONCE = ("guest", "crashed", "disk_error", "agent")
WHOLE_EVERY = 10
"""Facts are repeated with every tenth report, and whenever they changed."""


class Net(Protocol):
    """The network helper, as far as reports concern it: leases that the kernel enforces (EN-11), the mesh's members (SE-7)."""

    def renew_lease(self, renewal: LeaseRenewal) -> object: ...

    def set_mesh_peers(self, addresses: tuple[str, ...]) -> object: ...

    def inventory(self) -> Any: ...

    def leases(self, network: str, vni: int) -> Any: ...


@dataclass
class Findings:
    """What duties have found since the last answered report; `again` names duties that are due whatever their period.

    powered_off  {instance: generation of the wish that the node had applied when the guest shut itself down}
    """

    again: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    inventory: Inventory | None = None
    powered_off: dict[str, int] = field(default_factory=dict)
    disk_errors: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a duty works with."""

    config: Config
    identity: Identity
    journal: Journal
    host: Machine
    findings: Findings
    net: Net | None = None
    events: "queue.SimpleQueue[DomainEvent]" = field(default_factory=queue.SimpleQueue)

    def notice(self, kind: str, message: str, object_type: str = "", object_uuid: str = "", **extra: Any) -> None:
        """Spool an event for the next report."""
        self.journal.notice(
            NodeEvent(
                uuid=str(uuid.uuid4()),
                type=kind,
                message=message,
                age=0.0,
                object_type=object_type,
                object_uuid=object_uuid,
                extra=extra,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Duty:
    """One recurring look at the node: `run` every `period` seconds, times the configured scale."""

    name: str
    period: float
    run: Callable[[Surroundings], None]


def duties() -> list[Duty]:
    """Every duty, one file each, by name."""
    package = importlib.import_module("nodeagent.duties")
    return [
        importlib.import_module(f"nodeagent.duties.{found.name}").DUTY
        for found in pkgutil.iter_modules(package.__path__)
    ]


class Reporter:
    """Builds reports and follows their answers."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        journal: Journal,
        host: Machine,
        net: Net | None,
        control: Control | None = None,
    ) -> None:
        self._config = config
        self._journal = journal
        self._control = control or Control(identity)
        self._net = net
        self._mesh = ""
        self._findings = Findings()
        self.noticed: queue.SimpleQueue[DomainEvent] = queue.SimpleQueue()
        self._around = Surroundings(
            config=config,
            identity=identity,
            journal=journal,
            host=host,
            findings=self._findings,
            net=net,
            events=self.noticed,
        )
        self._due: dict[str, float] = {}
        self._sent = 0
        self._facts_sent: dict[str, Any] = {}
        self.interval = RETRY_SECONDS

    def run_duties(self) -> None:
        """Those that are due; one that fails is logged and does not keep the others or the report."""
        now = time.monotonic()
        for duty in duties():
            if now < self._due.get(duty.name, 0.0) and duty.name not in self._findings.again:
                continue
            self._findings.again.discard(duty.name)
            self._due[duty.name] = now + duty.period * self._config.time_scale
            try:
                duty.run(self._around)
            except Exception:
                log.exception("duty failed", extra={"duty": duty.name})

    def report(self) -> bool:
        """Send one report and follow its answer; False when nobody answered."""
        findings, powered_off = self._findings, dict(self._findings.powered_off)
        inventory, disk_errors = findings.inventory, tuple(findings.disk_errors)
        spooled, dropped = self._journal.spool()
        report = Report(
            incarnation=self._journal.incarnation,
            clock=time.time(),
            actions={name: action.version for name, action in actions().items()},
            held=tuple(self._journal.held()),
            waiting=self._journal.waiting(),
            progress=self._journal.progress(),
            outcomes=tuple(self._journal.outcomes()),
            events=tuple(self._journal.events()),
            facts=self._facts_to_send(),
            inventory=inventory,
            power_off_by_guest=tuple(powered_off),
            power_off_generations=powered_off,
            disk_errors=disk_errors,
            mesh=self._mesh,
            spooled=spooled,
            dropped=dropped,
        )
        sent_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            answer = self._control.report(report)
        except (ControlUnavailable, Refusal, Malformed) as error:
            log.warning("report not answered", extra={"error": str(error)})
            self.interval = RETRY_SECONDS * self._config.time_scale
            self._facts_sent = {}
            return False
        self._follow(answer, sent_at)
        for told in powered_off.items() & findings.powered_off.items():
            del findings.powered_off[told[0]]
        findings.disk_errors -= set(disk_errors)
        if findings.inventory is inventory:
            findings.inventory = None
        return True

    def _facts_to_send(self) -> dict[str, Any]:
        """The facts when they changed or were not said for a while; saying them each time would cost a write each time."""
        self._sent += 1
        if self._findings.facts == self._facts_sent and self._sent % WHOLE_EVERY:
            return {}
        self._facts_sent = dict(self._findings.facts)
        return self._facts_sent

    def _follow(self, answer: ReportAnswer, sent_at: float) -> None:
        take_answer(self._config, self._journal, answer)
        self._journal.count_answer()
        self.interval = answer.interval
        if answer.want_inventory:
            self._due.pop("inventory", None)
        if self._net is not None:
            for lease in answer.leases:
                self._renew(lease, sent_at)
            if answer.mesh is not None:
                self._let_in(answer.mesh)

    def _renew(self, lease: LeaseRenewal, sent_at: float) -> None:
        """The lease counts from when the report was sent, not from when its answer came (EN-11)."""
        assert self._net is not None
        left = lease.seconds - (time.clock_gettime(time.CLOCK_BOOTTIME) - sent_at)
        try:
            self._net.renew_lease(dataclasses.replace(lease, seconds=left))
        except Exception as error:  # the router may not be there yet; its own request brings the lease along
            log.debug("lease not renewed", extra={"network": lease.network, "error": str(error)})

    def _let_in(self, addresses: tuple[str, ...]) -> None:
        assert self._net is not None
        try:
            self._net.set_mesh_peers(addresses)
        except Exception as error:  # said again with the next facts
            log.warning("mesh not updated", extra={"error": str(error)})
            return
        self._mesh = mesh_digest(addresses)


class Watcher(threading.Thread):
    """Passes on what happens to domains, and rings when it is what nobody asked for, so that it is reported at once."""

    def __init__(self, config: Config, source: "queue.SimpleQueue[DomainEvent]", reporter: Reporter) -> None:
        super().__init__(name="watcher", daemon=True)
        self._source = source
        self._reporter = reporter
        self._bell = report_bell(config)

    def run(self) -> None:
        while True:
            event = self._source.get()
            self._reporter.noticed.put(event)
            if event.cause in TOLD_AT_ONCE:
                doorbell.ring(self._bell)


def run(config: Config, identity: Identity, host: Machine, net: Net | None) -> None:
    """Until the process is asked to end, or the node was deleted."""
    journal = Journal(config.state / "journal.sqlite")
    reporter = Reporter(config, identity, journal, host, net)
    bell = doorbell.Doorbell(report_bell(config))
    Watcher(config, host.events, reporter).start()
    while True:
        reporter.run_duties()
        try:
            reporter.report()
        except NodeDeleted:
            log.warning("this node was deleted: no more work is taken, nothing is touched")
            return
        bell.wait(reporter.interval)

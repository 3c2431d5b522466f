"""Taking what nodes say, and answering what they are to do next (EN-4, EN-11 to EN-13).

A report is a claim: it settles only the node's own open steps, its capacity counts up to the ceiling, and its inventory
proves absence only when it was complete and twice so. Everything that must not depend on Redis happens here.
"""

import logging
import time
import uuid
from collections.abc import Sequence

from django.conf import settings
from django.db import InterfaceError, OperationalError

from nodeagent.wire import LeaseRenewal, NodeEvent, Outcome, Report, ReportAnswer, mesh_digest
from sftasks import dispatch, engine
from sftasks.reconcilers import node_objects
from sfweb.domain import carriers, dhcp, events, node_life, placement
from sfweb.domain.transactions import durable
from sfweb.internal import inventory
from sfweb.models import EventObject, Node, Step
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, State, StepState

log = logging.getLogger(__name__)


def take_report(node: Node, report: Report) -> ReportAnswer:
    """Everything that a report asks for, each part in its own short transaction."""
    accepted = node_life.arrive(node, report.incarnation, dict(report.actions), report.clock - time.time())
    acknowledged = _settle_all(node, report.outcomes)
    if report.facts:
        _take_facts(node, report)
    inventory.powered_off_by_guest(node, report.power_off_by_guest)
    drift = report.inventory is not None and accepted and inventory.compare(node, report.inventory)
    if report.progress:
        _take_progress(node, report.progress)
    told = _take_events(node, report.events)
    node.refresh_from_db()
    held = {*report.held, *(outcome.token for outcome in report.outcomes)}
    closed = _closed(node, report.held)
    _extend(node, report.held)
    renewals = _renew(node)
    if drift:
        # After the renewal, so that a router that has to be made again begins with a whole lease.
        node_objects.close_gaps(node.pk)
    steps = dispatch.hand_out(node, held) if accepted else []
    look = accepted and node_life.wants_inventory(node)
    return ReportAnswer(
        acknowledged=tuple(acknowledged),
        closed=tuple(closed),
        cancel=tuple(_to_cancel(node)),
        steps=tuple(steps),
        leases=tuple(renewals),
        events=tuple(told),
        interval=float(settings.REPORT_BUSY_SECONDS) if look else _interval(node, bool(renewals)),
        accepted=accepted,
        mesh=_mesh(report),
        want_inventory=look,
    )


def take_outcomes(node: Node, incarnation: str, outcomes: Sequence[Outcome]) -> ReportAnswer:
    """Outcomes that a worker posts at once; the answer hands out what follows."""
    acknowledged = _settle_all(node, outcomes)
    if node.credential.incarnation != incarnation:
        return ReportAnswer(acknowledged=tuple(acknowledged), accepted=False)
    steps, busy = dispatch.fill(node.pk)
    interval = settings.REPORT_BUSY_SECONDS if busy else settings.REPORT_IDLE_SECONDS
    return ReportAnswer(acknowledged=tuple(acknowledged), steps=tuple(steps), interval=float(interval))


def _settle_all(node: Node, outcomes: Sequence[Outcome]) -> list[str]:
    """Tokens that are settled, whatever that changed: one that nobody waits for would else come for ever.

    One that cannot be settled keeps nobody from the others and from the answer: it comes again with the next report.
    """
    settled = []
    for outcome in outcomes:
        try:
            engine.settle(node.pk, outcome)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("an outcome could not be settled", extra={"node": node.name, "token": outcome.token})
        else:
            settled.append(outcome.token)
    return settled


@durable
def _take_facts(node: Node, report: Report) -> None:
    facts = dict(report.facts)
    leases = facts.pop("dhcp_leases", None)
    columns: dict[str, object] = {"facts": facts}
    address, port = facts.get("mesh_address"), facts.get("byte_port")
    if isinstance(address, str) and node.mesh_address is None:
        columns["mesh_address"] = address
    if isinstance(port, int):
        columns["byte_port"] = port
    Node.objects.filter(pk=node.pk).update(**columns)
    capacity = facts.get("capacity")
    if isinstance(capacity, dict):
        placement.set_limits(node, *(max(0, int(capacity.get(name, 0))) for name in ("cpus", "memory_mb", "disk_gb")))
    if isinstance(leases, list):
        dhcp.take_leases(node, leases)


def _mesh(report: Report) -> tuple[str, ...] | None:
    """Every node's mesh address, told with facts (they come with every tenth report) to a node that knows another list."""
    if not report.facts:
        return None
    living = Node.objects.exclude(state=State.DELETED).filter(mesh_address__isnull=False)
    addresses = tuple(sorted(address for address in living.values_list("mesh_address", flat=True) if address))
    return None if mesh_digest(addresses) == report.mesh else addresses


def _closed(node: Node, held: Sequence[str]) -> list[str]:
    """Held tokens that no open step has any more: the node drops those that it has not started."""
    if not held:
        return []
    still = Step.objects.filter(node=node, token__in=held, state=StepState.SENT).values_list("token", flat=True)
    return sorted(set(held) - {token for token in still if token})


def _extend(node: Node, held: Sequence[str]) -> None:
    if held:
        deadline = FromNow(dispatch.HELD_SECONDS * settings.TIME_SCALE)
        Step.objects.filter(node=node, token__in=held, state=StepState.SENT).update(deadline=deadline)


def _to_cancel(node: Node) -> list[str]:
    """Tokens of steps past their action's ceiling, and of those whose operation was asked to stop (EN-4, EN-14)."""
    rows = Step.objects.filter(node=node, state=StepState.SENT, operation__state__in=OPEN_OPERATION)
    asked = rows.filter(operation__cancel_requested_at__isnull=False).values_list("token", "action")
    tokens = [token for token, action in asked if dispatch.ceiling(action) > 60]
    for token, action in rows.values_list("token", "action"):
        late = FromNow(-dispatch.ceiling(action))
        if dispatch.ceiling(action) > 60 and rows.filter(token=token, first_sent_at__lt=late).exists():
            tokens.append(token)
    return sorted({token for token in tokens if token})


def _renew(node: Node) -> list[LeaseRenewal]:
    held = carriers.renew(node)
    rivals = bool(held) and carriers.has_rivals()
    seconds = settings.CARRIER_LEASE_SECONDS
    return [
        LeaseRenewal(network=str(network), vni=vni, epoch=epoch, seconds=seconds, rivals=rivals)
        for network, vni, epoch in held
    ]


def _interval(node: Node, carries: bool) -> float:
    """Five seconds while anything is open, ten for a carrier with rivals, else thirty (EN-4, EN-10, EN-11)."""
    if Step.objects.filter(node=node, state__in=(StepState.PLANNED, StepState.SENT)).exists():
        return float(settings.REPORT_BUSY_SECONDS)
    if carries and carriers.has_rivals():
        return float(settings.REPORT_CARRIER_SECONDS)
    return float(settings.REPORT_IDLE_SECONDS)


def _take_progress(node: Node, progress: dict[str, object]) -> None:
    for token, percent in progress.items():
        if isinstance(percent, int) and 0 <= percent <= 100:
            dispatch.note_progress(node.pk, token, percent)


@durable
def _take_events(node: Node, noticed: Sequence[NodeEvent]) -> list[str]:
    """Store events of the node once each, by their uuid (EV-2); an object that it has nothing of is not named (SE-4)."""
    rows = EventObject.objects.filter(event_uuid__in=[event.uuid for event in noticed])
    known = {str(identity) for identity in rows.values_list("event_uuid", flat=True)}
    for event in noticed:
        if event.uuid in known:
            continue
        targets = [("node", node.pk)]
        if event.object_uuid and node_life.holds(node, event.object_type, event.object_uuid):
            targets.append((event.object_type, uuid.UUID(event.object_uuid)))
        origin = events.Origin(node=node.name, identity=uuid.UUID(event.uuid), age=event.age)
        events.record(event.type, event.message, targets, extra=event.extra, origin=origin)
    return [event.uuid for event in noticed]

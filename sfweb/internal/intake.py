"""Taking what nodes say, and answering what they are to do next (EN-4, EN-11 to EN-13).

A report is a claim: it settles only the node's own open steps, its capacity counts up to the ceiling, and its inventory
proves absence only when it was complete and twice so. Everything that must not depend on Redis happens here.
"""

import logging
import time
from collections.abc import Collection, Sequence

from django.conf import settings
from django.db import InterfaceError, OperationalError

from nodeagent.wire import Inventory, LeaseRenewal, Outcome, Report, ReportAnswer, mesh_digest
from sftasks import dispatch, engine, statements
from sftasks.outcomes import Settled
from sftasks.reconcilers import node_objects
from sfweb import metrics
from sfweb.domain import carriers, node_life
from sfweb.internal import claims, inventory, strays
from sfweb.models import Node, Step
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, State, StepState

log = logging.getLogger(__name__)
SETTLED_TOGETHER = 16
"""Outcomes in one transaction: as many as a node posts at once."""


def take_report(node: Node, report: Report) -> ReportAnswer:
    """Everything that a report asks for, each part in its own short transaction."""
    spoken = claims.known_actions(report.actions)
    accepted = node_life.arrive(node, report.incarnation, spoken, report.clock - time.time())
    acknowledged, _ = _settle_all(node, report.outcomes)
    if report.facts:
        claims.take_facts(node, report.facts)
    inventory.powered_off_by_guest(node, report.power_off_by_guest, report.power_off_generations)
    inventory.stopped_by_disk(node, report.disk_errors)
    drift = accepted and report.inventory is not None and _take_inventory(node, report.inventory)
    told = claims.take_events(node, report.events)
    metrics.SPOOLED.labels(node.name).set(report.spooled)
    metrics.SPOOL_DROPPED.labels(node.name).set(report.dropped)
    node.state, busy, carries, rivals, look = statements.standing(node.pk)  # most have nothing to do most of the time
    sent = _sent(node) if busy else set()
    held = sent & {*report.held, *(outcome.token for outcome in report.outcomes)}
    closed = sorted(set(report.held) - sent)
    _extend(node, sent.intersection(report.held))
    _take_progress(node, {token: report.progress[token] for token in sent & report.progress.keys()})
    renewals = _renew(node, rivals) if accepted and carries and node.state in node_life.HERE else []
    if drift:
        # After the renewal, so that a router that has to be made again begins with a whole lease.
        busy |= node_objects.close_gaps(node.pk) > 0
    steps = dispatch.hand_out(node, held) if accepted and busy else []
    look &= accepted
    return ReportAnswer(
        acknowledged=tuple(acknowledged),
        closed=tuple(closed),
        cancel=tuple(_to_cancel(node)) if busy else (),
        steps=tuple(steps),
        leases=tuple(renewals),
        events=tuple(told),
        interval=_interval(busy or look, bool(renewals) and rivals),
        accepted=accepted,
        mesh=_mesh(report),
        want_inventory=look,
    )


def _take_inventory(node: Node, seen: Inventory) -> bool:
    """True when it differs from what the node should hold."""
    drift = inventory.compare(node, seen)
    strays.reap(node, node.inventory or {}, seen)
    inventory.count_uncounted(node, seen)
    return drift


def take_outcomes(node: Node, incarnation: str, outcomes: Sequence[Outcome]) -> ReportAnswer:
    """Outcomes that a worker posts at once; the answer hands out what follows."""
    acknowledged, freed = _settle_all(node, outcomes)
    if node.credential.incarnation != incarnation:
        return ReportAnswer(acknowledged=tuple(acknowledged), accepted=False)
    # where the next stages took the places that became free, whoever waits for one waits still
    steps, busy = dispatch.fill(node.pk) if freed or not acknowledged else ([], True)
    interval = settings.REPORT_BUSY_SECONDS if busy else settings.REPORT_IDLE_SECONDS
    return ReportAnswer(acknowledged=tuple(acknowledged), steps=tuple(steps), interval=float(interval))


def _settle_all(node: Node, outcomes: Sequence[Outcome]) -> tuple[list[str], int]:
    """Tokens that are settled, whatever that changed: one that nobody waits for would else come for ever. And how many more
    steps of the node have ended than were sent to it in their place.
    """
    tokens, freed = [], 0
    for at in range(0, len(outcomes), SETTLED_TOGETHER):
        for some, settled in _settle(node, outcomes[at : at + SETTLED_TOGETHER]):
            tokens += [outcome.token for outcome in some]
            freed += settled.taken - settled.sent
    return tokens, freed


def _settle(node: Node, outcomes: Sequence[Outcome]) -> list[tuple[Sequence[Outcome], Settled]]:
    """All by one transaction, or, if that fails, each by its own.

    One that cannot be settled keeps nobody from the others and from the answer: it comes again with the next report.
    """
    try:
        return [(outcomes, engine.settle(node.pk, *outcomes))]
    except Exception as error:
        if len(outcomes) > 1:
            return [settled for outcome in outcomes for settled in _settle(node, [outcome])]
        if isinstance(error, OperationalError | InterfaceError):
            raise
        log.exception("an outcome could not be settled", extra={"node": node.name, "token": outcomes[0].token})
        return []


def _mesh(report: Report) -> tuple[str, ...] | None:
    """Every node's mesh address, told with facts (they come with every tenth report) to a node that knows another list."""
    if not report.facts:
        return None
    living = Node.objects.exclude(state=State.DELETED).filter(mesh_address__isnull=False)
    addresses = tuple(sorted(address for address in living.values_list("mesh_address", flat=True) if address))
    return None if mesh_digest(addresses) == report.mesh else addresses


def _sent(node: Node) -> set[str]:
    """Tokens of the steps that the node has to do. Of what it names, only these ever reach the database again."""
    tokens = Step.objects.filter(node=node, state=StepState.SENT).values_list("token", flat=True)
    return {token for token in tokens if token}


def _extend(node: Node, held: Collection[str]) -> None:
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


def _renew(node: Node, rivals: bool) -> list[LeaseRenewal]:
    seconds = settings.CARRIER_LEASE_SECONDS
    return [
        LeaseRenewal(network=str(network), vni=vni, epoch=epoch, seconds=seconds, rivals=rivals)
        for network, vni, epoch in carriers.renew(node)
    ]


def _interval(busy: bool, must_renew: bool) -> float:
    """Five seconds while anything is open, ten for a carrier with rivals, else thirty (EN-4, EN-10, EN-11)."""
    if busy:
        return float(settings.REPORT_BUSY_SECONDS)
    if must_renew:
        return float(settings.REPORT_CARRIER_SECONDS)
    return float(settings.REPORT_IDLE_SECONDS)


def _take_progress(node: Node, progress: dict[str, object]) -> None:
    for token, percent in progress.items():
        if isinstance(percent, int) and 0 <= percent <= 100:
            dispatch.note_progress(node.pk, token, percent)

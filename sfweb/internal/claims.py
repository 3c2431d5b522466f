"""What a node says about itself and what it noticed, taken as claims: each kept only as far as it is well formed (SE-4, SE-6).

Nothing here raises for what a node says: one claim that makes no sense must not keep its report from the others.
"""

import ipaddress
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from nodeagent.action import actions
from nodeagent.wire import NodeEvent
from sftasks.operation import served
from sfweb.domain import blob_copies, dhcp, events, guest_agents, node_life
from sfweb.domain.capacity import set_limits
from sfweb.domain.lookup import as_uuid
from sfweb.domain.transactions import durable
from sfweb.models import EventObject, Node
from sfweb.models.event import EVENT_TYPES
from sfweb.models.state import State

log = logging.getLogger(__name__)
MOST_EVENTS = 200
STORAGE_PARTS = ("blobs", "instances", "uploads")
LONGEST_MESSAGE = 4096
LONGEST_EXTRA = 16 * 2**10
LONGEST_FACTS = 256 * 2**10
OLDEST_EVENT_SECONDS = 30 * 86400.0
LARGEST_FIGURE = 2**30


def known_actions(claimed: Mapping[str, Any]) -> dict[str, int]:
    """The versions of our own actions that the node speaks (EN-18)."""
    return {name: claimed[name] for name in actions() if type(claimed.get(name)) is int}


@durable
def take_facts(node: Node, claimed: Mapping[str, Any]) -> None:
    """Facts for people to read; of them only the address, the port, the capacity and the leases are used, each checked."""
    facts = dict(claimed)
    leases, guests, checks = (facts.pop(name, None) for name in ("dhcp_leases", "guests", "blob_checks"))
    if len(json.dumps(facts)) > LONGEST_FACTS:
        log.warning("facts too long, none taken", extra={"node": node.name})
        return
    columns: dict[str, object] = {"facts": facts}
    if node.mesh_address is None and (address := _mesh_address(node, facts.get("mesh_address"))):
        columns["mesh_address"] = address
    port = facts.get("byte_port")
    if type(port) is int and 0 < port < 65536:
        columns["byte_port"] = port
    Node.objects.filter(pk=node.pk).update(**columns)
    node_life.take_storage(node, _faults(facts.get("storage")))
    capacity = facts.get("capacity")
    if isinstance(capacity, dict):
        set_limits(node, *(_figure(capacity.get(name)) for name in ("cpus", "memory_mb", "disk_gb")))
    if isinstance(leases, list):
        dhcp.take_leases(node, leases)
    if isinstance(guests, dict):
        guest_agents.take(node, guests)
    if isinstance(checks, list):
        blob_copies.take_checks(node, checks)


def _mesh_address(node: Node, claim: Any) -> str | None:
    """An address of one host that is no other node's: every node is told it, so a bad one would be everybody's (SE-7)."""
    try:
        address = ipaddress.IPv4Address(claim if isinstance(claim, str) else "")
    except ValueError:
        return None
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return None
    if address.is_loopback and not all("://127." in control for control in settings.INTERNAL_ADDRESSES):
        return None  # from another machine it would lead us to our own services
    others = Node.objects.exclude(pk=node.pk).exclude(state=State.DELETED)
    return None if others.filter(mesh_address=str(address)).exists() else str(address)


def _faults(claim: Any) -> dict[str, str]:
    """{part of the storage: what is wrong with it}, of parts that there are."""
    return {part: str(claim[part])[:255] for part in STORAGE_PARTS if isinstance(claim, dict) and claim.get(part)}


def _figure(claim: Any) -> int:
    return min(max(0, claim), LARGEST_FIGURE) if type(claim) is int else 0


@durable
def take_events(node: Node, noticed: Sequence[NodeEvent]) -> list[str]:
    """Store events of the node once each, by their uuid (EV-2); the uuids that it may forget."""
    page = noticed[:MOST_EVENTS]
    fresh = {identity: event for event in page if (identity := as_uuid(event.uuid)) is not None}
    known = set(EventObject.objects.filter(event_uuid__among=fresh.keys()).values_list("event_uuid", flat=True))
    about = {identity: _object_of(event) for identity, event in fresh.items() if identity not in known}
    held = node_life.held_among(node, {found for found in about.values() if found is not None})
    events.record_all(
        [_entry(node, identity, fresh[identity], found if found in held else None) for identity, found in about.items()]
    )
    return [event.uuid for event in page]


def _object_of(event: NodeEvent) -> events.Target | None:
    identity = as_uuid(event.object_uuid)
    return (event.object_type, identity) if identity is not None and event.object_type in served() else None


def _entry(node: Node, identity: uuid.UUID, event: NodeEvent, about: events.Target | None) -> events.Entry:
    """`about` is None for an object that the node has nothing of: that is not named (SE-4)."""
    return events.Entry(
        kind=event.type if event.type in EVENT_TYPES else "status",
        message=event.message[:LONGEST_MESSAGE],
        targets=[("node", node.pk), *([about] if about else [])],
        extra=event.extra if len(json.dumps(event.extra)) <= LONGEST_EXTRA else {"left out": "too long"},
        origin=events.Origin(node=node.name, identity=identity, age=min(max(0.0, event.age), OLDEST_EVENT_SECONDS)),
    )

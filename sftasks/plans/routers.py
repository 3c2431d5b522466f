"""What a network's carrier runs: gateway, DHCP, DNS, SNAT, outside addresses, from the rows that say so."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Greatest

from nodeagent.specs import DhcpHost, DnsRecord, EgressSpec, FloatingAddress, LeaseSpec, RouterSpec
from nodeagent.wire import dump
from sftasks import statements, wishes
from sftasks.operation import Served, Wish
from sftasks.plans import networks
from sfweb.domain import carriers, ipam
from sfweb.domain.callers import Caller
from sfweb.models import FLOATING, Address, AddressKind, DnsEntry, Interface, Network
from sfweb.models.state import State


def on_carrier(network: Network, carrier: UUID, caller: Caller, *, gathers: bool = False) -> Wish:
    """The operation that brings the carrier's router to what the rows say."""
    return Wish(
        kind="router_on_node",
        object_key=f"router:{network.pk}@{carrier}",
        targets=[("network", network.pk), ("node", carrier)],
        params={"network": str(network.pk), "node": str(carrier)},
        caller=caller,
        namespace=network.namespace_id,
        gathers=gathers,
    )


def _generation(network: UUID, node: UUID) -> int:
    return statements.generation("networks", "router_generation", network) or wishes.FOR_EVER


def _advance(network: UUID, node: UUID, above: int) -> None:
    Network.objects.filter(pk=network).update(router_generation=Greatest(F("router_generation"), above) + 1)


def _present(network: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    row = Network.objects.select_related("namespace").get(pk=network)
    lease = carriers.lease_of(network, node)
    if lease is None or row.vni is None:
        return None
    cards = _cards(row)
    hosts = [DhcpHost(mac=card.mac, address=card.address, name=card.instance__name) for card in cards]
    egress = _egress(row)
    spec = RouterSpec(
        network=str(network),
        vni=row.vni,
        netblock=row.netblock,
        gateway=ipam.gateway(row),
        dhcp=row.provide_dhcp,
        dns=row.provide_dns,
        domain=f"{row.namespace.name}.{settings.ZONE}",
        lease=LeaseSpec(epoch=lease.epoch, seconds=lease.seconds, rivals=lease.rivals),
        egress=egress,
        hosts=tuple(hosts),
        records=(*(DnsRecord(name=host.name, address=host.address) for host in hosts), *_entries(row)),
        upstream=tuple(settings.DNS_SERVERS) if row.provide_nat else (),
        floating=_floating(cards) if egress else (),
        routed=_routed(row) if egress else (),
    )
    return {"spec": dump(spec)}


def _cards(network: Network) -> list[Any]:
    """Of what is there and has an address, by age."""
    living = Interface.objects.filter(network=network, state__in=(State.INITIAL, State.CREATED), mac__isnull=False)
    rows = living.exclude(address=None).order_by("created_at")
    return list(rows.values_list("mac", "address", "floating", "instance__name", named=True))


def _entries(network: Network) -> list[DnsRecord]:
    entries = DnsEntry.objects.filter(network=network).order_by("name").values_list("name", "address")
    return [DnsRecord(name=name, address=address) for name, address in entries]


def _egress(network: Network) -> EgressSpec | None:
    if network.floating_gateway is None:
        return None
    outside = ipaddress.IPv4Network(Network.objects.values_list("netblock", flat=True).get(pk=FLOATING))
    return EgressSpec(
        address=network.floating_gateway,
        prefix_length=outside.prefixlen,
        gateway=settings.FLOATING_GATEWAY or str(outside[1]),
    )


def _floating(cards: Sequence[Any]) -> tuple[FloatingAddress, ...]:
    shown = [FloatingAddress(address=card.floating, target=card.address) for card in cards if card.floating]
    return tuple(sorted(shown, key=lambda one: ipaddress.IPv4Address(one.address)))


def _routed(network: Network) -> tuple[str, ...]:
    """Those that the network has; one that is being withdrawn is reserved still, and not routed any more."""
    rows = Address.objects.filter(network=FLOATING, owner_uuid=network.pk, kind=AddressKind.ROUTED, released_at=None)
    return tuple(str(ipaddress.IPv4Address(value)) for value in rows.order_by("value").values_list("value", flat=True))


def _ping(network: UUID, node: UUID, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**networks.absent(network, node, arguments), "address": arguments["address"]}


OBJECT = Served(
    type="router",
    kind="router_on_node",
    ensure="ensure_router",
    remove="remove_router",
    generation=_generation,
    newest=Subquery(Network.objects.filter(pk=OuterRef("object_uuid")).values("router_generation")),
    advance=_advance,
    requests={"ensure_router": _present, "remove_router": networks.absent, "ping_address": _ping},
)

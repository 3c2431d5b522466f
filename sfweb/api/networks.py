"""Networks: created, shown, deleted; who is on them, and which addresses are taken."""

import ipaddress
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import network_create, network_delete
from sfweb.api.base import (
    ApiView,
    Flag,
    InNamespace,
    Input,
    Page,
    Text,
    operation_handle,
    started,
    takes,
)
from sfweb.api.filters import AddressFilter, NetworkFilter
from sfweb.api.interfaces import interface_views
from sfweb.api.lists import Filtered, listed, living
from sfweb.api.operation_pointers import pointers
from sfweb.domain.deletion import namespace_to_empty
from sfweb.domain.lookup import find_network
from sfweb.domain.metadata import metadata_of
from sfweb.domain.network_rules import new_network
from sfweb.domain.pending import pending_among
from sfweb.errors import Forbidden, NotFound
from sfweb.models import FLOATING, Address, AddressKind, Interface, Network
from sfweb.models.state import State

GOING = (State.DELETE_WAIT, State.DELETED)


class ListInput(Filtered):
    """`all` shows deleted ones too, for as long as their rows are kept; so does a `state` that asks for them."""

    filters = NetworkFilter
    all = Flag()


class PlainFlag(Flag):
    """True or false, or the text of one of them; a network without DHCP by a slip of the pen would be found late (NW-1)."""

    def to_internal_value(self, data: Any) -> bool:
        said = {"true": True, "false": False}.get(data.lower()) if isinstance(data, str) else data
        if not isinstance(said, bool):
            self.fail("invalid", input=data)
        return bool(said)


class NewNetworkInput(Input):
    netblock = Text(required=True)
    name = Text(required=True)
    provide_dhcp = PlainFlag()
    provide_nat = PlainFlag()
    provide_dns = PlainFlag()
    namespace = Text()


class DeleteAllInput(Input):
    """With `clean_wait` a network in use goes when its last interface has; without, it is a reason to refuse (NW-8)."""

    confirm = Flag()
    namespace = Text(max_length=64)
    clean_wait = Flag()


def network_views(rows: Sequence[Network]) -> list[dict[str, Any]]:
    """As the client reads networks. `rows` come with namespace selected; two queries more."""
    uuids = [row.uuid for row in rows]
    metadata, busy = metadata_of("network", uuids), pending_among("network", uuids)
    return [
        {
            "uuid": str(row.uuid),
            "state": row.state,
            "metadata": metadata[row.uuid],
            "version": 1,
            "name": row.name,
            "namespace": row.namespace.name,
            "netblock": row.netblock,
            "provide_dhcp": row.provide_dhcp,
            "provide_nat": row.provide_nat,
            "provide_dns": row.provide_dns,
            "floating_gateway": row.floating_gateway,
            "vxlan_id": row.vni or 0,
            "error_message": row.error_message,
            "has_pending_operations": row.uuid in busy,
        }
        for row in rows
    ]


def shown(ref: uuid.UUID) -> dict[str, Any]:
    """One network as its row stands now, with its operations."""
    return network_views([Network.objects.select_related("namespace").get(pk=ref)])[0] | pointers("network", ref)


class Networks(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = Network.objects.select_related("namespace").order_by("created_at", "uuid")
        if not self.caller.is_system:
            rows = rows.filter(namespace_id=self.own_uuid).exclude(pk=FLOATING)
        return listed(request, living(rows, wanted), wanted, network_views, NetworkFilter)

    @takes(NewNetworkInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        made = network_create.request(self.caller, new_network(self.caller, wanted))
        return started(request, made.operation, shown(made.row.uuid))

    @takes(DeleteAllInput)
    def delete(self, request: Request, wanted: dict[str, Any]) -> Response:
        namespace = namespace_to_empty(self.caller, wanted)
        rows = list(Network.objects.filter(namespace=namespace).exclude(state__in=GOING).exclude(pk=FLOATING))
        if not wanted.get("clean_wait"):
            _refuse_used(rows)
        handles = []
        for row in rows:
            with suppress(NotFound):  # another request was faster, and the network is gone
                gone = network_delete.request(self.caller, row)
                handles.append({"network_uuid": str(row.uuid), **operation_handle(gone.operation)})
        return Response(handles, status=202)


def _refuse_used(rows: Sequence[Network]) -> None:
    used = Interface.objects.filter(network__in=rows).exclude(state=State.DELETED).values_list("network_id", flat=True)
    if used:
        unable = sorted({str(network) for network in used})
        raise Forbidden(
            "networks with interfaces cannot be deleted",
            code="networks_in_use",
            details={"deleted": [], "unable": unable},
        )


class NetworkDetail(ApiView):
    @takes(InNamespace)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(shown(find_network(self.caller, ref, wanted.get("namespace")).uuid))

    @takes(InNamespace)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_network(self.caller, ref, wanted.get("namespace"))
        if row.uuid == FLOATING:
            raise Forbidden("you cannot delete the floating network")
        if row.state == State.DELETED:
            raise NotFound(f"network not found: {ref}")
        gone = network_delete.request(self.caller, row)
        return started(request, gone.operation, operation_handle(gone.operation), status=202)


class NetworkInterfaces(ApiView):
    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        rows = Interface.objects.filter(network=find_network(self.caller, ref)).exclude(state=State.DELETED)
        return listed(request, rows.order_by("created_at", "uuid"), wanted, interface_views)


class AddressInput(Filtered):
    filters = AddressFilter


class NetworkAddresses(ApiView):
    @takes(AddressInput)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        rows = Address.objects.filter(network=find_network(self.caller, ref)).order_by("value")
        return listed(request, rows, wanted, address_views, AddressFilter)


def address_views(rows: Sequence[Address]) -> list[dict[str, Any]]:
    """As the client reads reservations: an interface's address is its instance's; one query for all of those.

    A resting address has no user; that is an empty list, because the client joins it.
    """
    cards = [row.owner_uuid for row in rows if row.owner_type == "interface"]
    instances = dict(Interface.objects.filter(uuid__in=cards).values_list("uuid", "instance_id"))
    views = []
    for row in rows:
        user: list[str] = []
        if row.owner_uuid in instances:
            user = ["instance", str(instances[row.owner_uuid])]
        elif row.owner_uuid:
            user = [row.owner_type, str(row.owner_uuid)]
        views.append(
            {
                "address": str(ipaddress.IPv4Address(row.value)),
                "user": [] if row.kind == AddressKind.HALO else user,
                "when": (row.released_at or row.reserved_at).timestamp(),
                "type": row.kind,
                "comment": row.comment,
            }
        )
    return views

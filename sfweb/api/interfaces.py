"""Interfaces: the cards of instances on networks."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import address_expose, address_withdraw, interface_unplug
from sfweb.api.base import ApiView, Nothing, accepted, started, takes
from sfweb.domain.lookup import find_interface
from sfweb.domain.metadata import metadata_of

INTERFACE_COLUMNS = (
    *("uuid", "state", "network_id", "instance_id", "mac", "former_mac"),
    *("address", "order", "model", "floating"),
)
"""What `interface_views` reads of a row."""


def interface_views(
    rows: Sequence[Any], metadata: Mapping[uuid.UUID, dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """As the client reads interfaces; by one query more for any number of them, unless their metadata has been read."""
    if metadata is None:
        metadata = metadata_of("interface", [row.uuid for row in rows])
    return [
        {
            "uuid": str(row.uuid),
            "state": row.state,
            "metadata": metadata[row.uuid],
            "version": 1,
            "network_uuid": str(row.network_id),
            "instance_uuid": str(row.instance_id),
            "macaddr": row.mac or row.former_mac,
            "ipv4": row.address,
            "order": row.order,
            "model": row.model,
            "floating": row.floating,
        }
        for row in rows
    ]


class InterfaceDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(interface_views([find_interface(self.caller, ref)])[0])

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """Ours: unplug it, also from a running guest; its addresses are free again once the guest has let go."""
        gone = interface_unplug.request(self.caller, find_interface(self.caller, ref))
        return accepted(request, gone.operation, interface_views([gone.row])[0])


class InterfaceFloat(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        made = address_expose.request_float(self.caller, find_interface(self.caller, ref))
        return started(request, made.operation, None)


class InterfaceDefloat(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        gone = address_withdraw.request_defloat(self.caller, find_interface(self.caller, ref))
        return started(request, gone.operation, None)

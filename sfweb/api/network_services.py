"""What a network's router does for its owner: routed addresses, hosted names, ping."""

import ipaddress
from collections.abc import Callable
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import address_expose, address_withdraw, network_dns, network_ping
from sfweb.api.base import ApiView, Input, Nothing, Text, operation_summary, started, takes
from sfweb.api.waiting import ended
from sfweb.domain.lookup import find_network
from sfweb.domain.names import HOSTNAME
from sfweb.errors import Invalid, NotFound, NotReady, OperationFailed
from sfweb.models import FLOATING, Network, Operation
from sfweb.models.state import OperationState


def _served(view: ApiView, ref: str) -> Network:
    """A network that can have a router: not the outside, which is its own."""
    row = find_network(view.caller, ref)
    if row.pk == FLOATING:
        raise NotFound(f"network not found: {ref} has no router")
    return row


class NetworkRoutes(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        made = address_expose.request_route(self.caller, _served(self, ref))
        return started(request, made.operation, made.row)


class NetworkRoute(ApiView):
    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str, address: str) -> Response:
        gone = address_withdraw.request_unroute(self.caller, _served(self, ref), address)
        return started(request, gone.operation, None)


class NameInput(Input):
    name = Text(required=True, max_length=255)


class EntryInput(NameInput):
    value = Text(required=True)


class NetworkNames(ApiView):
    """The answer comes when the resolver knows, or says that it takes longer (DN-2)."""

    @takes(EntryInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        network = _served(self, ref)
        return self._answer(request, network, wanted["name"], _ipv4(wanted["value"]))

    @takes(NameInput)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return self._answer(request, _served(self, ref), wanted["name"], None)

    def _answer(self, request: Request, network: Network, name: str, address: str | None) -> Response:
        if not HOSTNAME.match(name):
            raise NotReady(f"name: {name} is not a hostname", code="network.bad_name")
        made = network_dns.request(self.caller, network, name.lower(), address)
        return _awaited(request, made.operation, "network.dnsmasq.restart_failed", lambda done: None)


class NetworkPing(ApiView):
    """Ten echoes from the network's router; the lines that ping printed, loss included (HP-6)."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str, address: str) -> Response:
        made = network_ping.request(self.caller, _served(self, ref), address)
        return _awaited(request, made.operation, "network.ping_failed", network_ping.printed)


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise Invalid(f"value: {text} is not an IPv4 address") from None


def _awaited(request: Request, operation: Operation, code: str, view: Callable[[Operation], Any]) -> Response:
    """What `view` makes of the operation once it has succeeded; 202 while it goes on, OperationFailed with `code`."""
    done = ended(operation)
    if done is None:
        operation.refresh_from_db()
        return started(request, operation, operation_summary(operation), status=202)
    if done.state != OperationState.SUCCEEDED:
        raise OperationFailed(
            done.error_message or f"{done.kind} {done.state}", code=code, details={"operation": str(done.pk)}
        )
    return started(request, done, view(done))

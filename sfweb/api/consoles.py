"""What an instance wrote to its serial console, read from its node; and tickets to the console itself."""

from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import ApiView, Input, Nothing, Number, takes
from sfweb.domain import consoles
from sfweb.domain.lookup import find_instance
from sfweb.errors import NotFound
from sfweb.node_bytes import clear_console, read_console

DEFAULT_BYTES = 10240
MAX_BYTES = 2 * 1024 * 1024


class ConsoleInput(Input):
    """The last `length` bytes; -1 is all that is kept."""

    length = Number(min_value=-1, max_value=2**31 - 1)


class ConsoleBytes(ApiView):
    @takes(ConsoleInput)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> HttpResponse:
        instance = find_instance(self.caller, ref)
        length = wanted.get("length") or DEFAULT_BYTES
        text = b""
        if instance.node is not None:
            try:
                text = read_console(instance.node, instance.uuid, min(length, MAX_BYTES))
            except NotFound:  # it has not written anything yet
                text = b""
        return HttpResponse(text, content_type="text/plain; charset=utf-8")

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        if instance.node is not None:
            try:
                clear_console(instance.node, instance.uuid)
            except NotFound:
                pass
        return Response(None)


class ConsoleTickets(ApiView):
    """Ours: a ticket that opens the serial console once, within a minute, as the first message of a websocket."""

    scopes: ClassVar[Any] = {"POST": ("instance.console",)}

    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        ticket = consoles.issue(self.caller, instance)
        return Response({"url": settings.CONSOLE_URL, "ticket": ticket, "expires_in": consoles.TICKET_SECONDS})

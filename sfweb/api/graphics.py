"""A guest's screen: the file for a viewer, by token or by an address that works once, and a picture of it."""

import time
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks import screenshots
from sfweb.api.answers import VIEWER
from sfweb.api.base import ApiView, Nothing, address, takes
from sfweb.domain import consoles, events, graphics
from sfweb.domain.lookup import find_instance
from sfweb.models import Instance
from sfweb.node_bytes import open_graphics, take_picture

PURPOSE = "screen"


def _viewer_file(instance: Instance) -> HttpResponse:
    """With a new password, which is valid from now on for five minutes (SE-15)."""
    graphics.require_direct()
    node = graphics.require_screen(instance)
    access = open_graphics(node, instance.uuid, graphics.PASSWORD_SECONDS)
    answer = HttpResponse(graphics.viewer_file(instance, access), content_type=VIEWER)
    answer["Cache-Control"] = "no-store"
    answer["Content-Disposition"] = f'attachment; filename="{instance.name}.vv"'
    return answer


class ViewerFile(ApiView):
    scopes: ClassVar[Any] = {"GET": ("instance.console",)}

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> HttpResponse:
        instance = find_instance(self.caller, ref)
        answer = _viewer_file(instance)
        events.record("audit", f"{PURPOSE} opened", [("instance", instance.pk)], extra={"by": str(self.caller)})
        return answer


class ViewerAddress(ApiView):
    scopes: ClassVar[Any] = {"GET": ("instance.console",)}

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        graphics.require_direct()
        graphics.require_screen(instance)
        ticket = consoles.issue(self.caller, instance, PURPOSE)
        answer = Response(
            {"url": address(request, f"/screens/{ticket}"), "expires_at": time.time() + consoles.TICKET_SECONDS}
        )
        answer["Cache-Control"] = "no-store"
        return answer


class ViewerFileOnce(ApiView):
    """Public: the ticket in the address is the right to it, once, within a minute."""

    authentication_classes: ClassVar[Any] = []
    permission_classes: ClassVar[Any] = []

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ticket: str) -> HttpResponse:
        graphics.require_direct()
        return _viewer_file(consoles.redeem(ticket, PURPOSE).instance)


class Screenshots(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """The answer is the uuid of a blob, a PNG, which is there already and stays for an hour."""
        instance = find_instance(self.caller, ref)
        node = graphics.require_screen(instance)
        blob = graphics.begin_picture(instance, node)
        for older in graphics.keep_picture(blob, node, take_picture(node, instance.uuid, blob.pk)):
            screenshots.drop(older)
        return Response(str(blob.pk))

"""What concerns the whole cluster: who holds what, what there is, and the certificate of whoever signed ours."""

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import ApiView, Nothing, SystemView, takes
from sfweb.domain.cluster_resources import resources
from sfweb.errors import NotFound
from sfweb.models import Operation, Step
from sfweb.models.state import OPEN_STEP, StepState

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def held_keys() -> dict[str, dict[str, Any]]:
    """Objects that an operation works on, with that operation and the node whose answer it waits for.

    Nothing here is a lock of a program: a key is held by a row, so there is no `pid`.
    """
    rows = Operation.objects.filter(running_key__isnull=False).order_by("running_key")
    running = list(rows.values_list("uuid", "running_key", "kind"))
    steps = Step.objects.filter(operation__in=[uuid for uuid, _, _ in running], state__in=OPEN_STEP)
    nodes: dict[Any, str] = {}
    for operation, state, node in steps.order_by("stage", "uuid").values_list("operation_id", "state", "node__name"):
        if operation not in nodes or state == StepState.SENT:
            nodes[operation] = node
    return {
        key: {"pid": None, "node": nodes.get(uuid, ""), "operation": f"{kind} {uuid}"} for uuid, key, kind in running
    }


class Locks(SystemView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        return Response(held_keys())


class Resources(SystemView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        return Response(resources())


class CaCertificate(ApiView):
    """As text. Only certificates leave the file, whatever else an operator keeps in it."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any]) -> HttpResponse:
        if not settings.CACERT_FILE:
            raise NotFound("this cluster has no certificate authority of its own: CACERT_FILE is not set", code="no_ca")
        try:
            found = CERTIFICATE.findall(Path(settings.CACERT_FILE).read_text())
        except (OSError, UnicodeDecodeError):
            found = []
        if not found:
            raise NotFound("the file that CACERT_FILE names has no certificate that can be read", code="no_ca")
        return HttpResponse("\n".join(found) + "\n", content_type="text/plain; charset=utf-8")


class ProxyTokenKey(ApiView):
    """Where a separate console proxy is configured its tokens would be checked with this key; here there is none."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        raise NotFound("this cluster signs no tokens for a console proxy: viewers are sent to it itself", code="no_key")

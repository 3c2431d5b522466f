"""Ceilings of a namespace (SE-12): seen by who may act on it, set by `system`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.auth import IsCaller, IsSystem
from sfweb.api.base import ApiView, Input, Nothing, Number, takes
from sfweb.domain.limits import MOST, limits_of, set_limits
from sfweb.domain.lookup import find_namespace


class LimitsInput(Input):
    """The whole set: what is left out is the setting's again."""

    instances = Number(max_value=MOST)
    networks = Number(max_value=MOST)
    disk_gb = Number(max_value=MOST)
    uploads = Number(max_value=MOST)
    waiting_operations = Number(max_value=MOST)
    schedules = Number(max_value=MOST)


class Limits(ApiView):
    def get_permissions(self) -> list[Any]:
        return [IsSystem()] if self.request.method == "PUT" else [IsCaller()]

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        return Response(limits_of(find_namespace(self.caller, namespace)))

    @takes(LimitsInput)
    def put(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        set_limits(self.caller, row, wanted)
        return Response(limits_of(row))

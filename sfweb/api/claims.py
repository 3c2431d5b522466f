"""Quota claims of namespaces, for keys of the system namespace (CL-1)."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import MAX_NUMBER, Flag, Input, Nothing, Number, Page, SystemView, seconds, takes
from sfweb.api.lists import listed
from sfweb.domain import claims
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import as_uuid, find_namespace
from sfweb.domain.placement_rules import DIMENSIONS, Room
from sfweb.errors import NotFound
from sfweb.models import NamespaceClaim
from sfweb.models.fields import UtcNow
from sfweb.models.state import State

LONGEST_SECONDS = 10 * 365 * 86400
EXPIRED = Q(expires_at__lte=UtcNow())


class ClaimInput(Input):
    """Memory in MiB, disk in GiB, `expires_in` in seconds."""

    cpus = Number(required=True, max_value=MAX_NUMBER)
    memory = Number(required=True, max_value=MAX_NUMBER)
    disk = Number(required=True, max_value=MAX_NUMBER)
    expires_in = Number(min_value=1, max_value=LONGEST_SECONDS)


class ClaimChange(Input):
    """What is left out stays."""

    cpus = Number(max_value=MAX_NUMBER)
    memory = Number(max_value=MAX_NUMBER)
    disk = Number(max_value=MAX_NUMBER)
    expires_in = Number(min_value=1, max_value=LONGEST_SECONDS)


class ListInput(Page):
    """`all` shows deleted ones too."""

    all = Flag()


def claim_views(rows: Sequence[NamespaceClaim]) -> list[dict[str, Any]]:
    """`rows` come with their namespaces; one query more."""
    expired = set(NamespaceClaim.objects.filter(EXPIRED, pk__in=[row.pk for row in rows]).values_list("pk", flat=True))
    return [
        {
            "uuid": str(row.uuid),
            "namespace": row.namespace.name,
            "state": row.state,
            "coverage_state": "expired" if row.pk in expired or row.state == State.DELETED else "active",
            "limit": {name: getattr(row, f"limit_{name}") for name in DIMENSIONS},
            "used": {name: getattr(row, f"used_{name}") for name in DIMENSIONS},
            "created_at": seconds(row.created_at),
            "expires_at": seconds(row.expires_at),
            "deleted_at": seconds(row.deleted_at),
        }
        for row in rows
    ]


def find_claim(caller: Caller, namespace: str, ref: str) -> NamespaceClaim:
    value: uuid.UUID | None = as_uuid(ref)
    rows = NamespaceClaim.objects.select_related("namespace").filter(namespace=find_namespace(caller, namespace))
    row = rows.filter(pk=value).first() if value else None
    if row is None:
        raise NotFound(f"claim not found: {ref}")
    return row


def _shown(row: NamespaceClaim) -> Response:
    return Response(claim_views([NamespaceClaim.objects.select_related("namespace").get(pk=row.pk)])[0])


class Claims(SystemView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        rows = NamespaceClaim.objects.filter(namespace=find_namespace(self.caller, namespace))
        rows = rows if wanted.get("all") else rows.exclude(state=State.DELETED)
        return listed(
            request,
            rows.order_by("created_at", "uuid"),
            wanted,
            claim_views,
            read=lambda rows: rows.select_related("namespace"),
        )

    @takes(ClaimInput, creates=True)
    def post(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        limit = Room(cpus=wanted["cpus"], memory_mb=wanted["memory"], disk_gb=wanted["disk"])
        row = find_namespace(self.caller, namespace)
        return _shown(claims.make(self.caller, row, limit, wanted.get("expires_in", claims.DEFAULT_SECONDS)))


class ClaimDetail(SystemView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str, claim: str) -> Response:
        return _shown(find_claim(self.caller, namespace, claim))

    @takes(ClaimChange)
    def put(self, request: Request, wanted: dict[str, Any], namespace: str, claim: str) -> Response:
        row = find_claim(self.caller, namespace, claim)
        limit = Room(
            cpus=wanted.get("cpus", row.limit_cpus),
            memory_mb=wanted.get("memory", row.limit_memory_mb),
            disk_gb=wanted.get("disk", row.limit_disk_gb),
        )
        return _shown(claims.change(self.caller, row, limit, wanted.get("expires_in")))

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], namespace: str, claim: str) -> Response:
        row = find_claim(self.caller, namespace, claim)
        claims.delete(self.caller, row)
        return _shown(row)

"""Whose room is taken on which node, for keys of the system namespace."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import SystemView, seconds, takes
from sfweb.api.filters import ReservationFilter
from sfweb.api.lists import Filtered, listed
from sfweb.models import PlacementReservation

FIGURES = ("cpus", "memory_mb", "disk_gb")
MOMENTS = ("created_at", "expires_at", "released_at")
_NAMES = ("instance__name", "instance__namespace__name", "node__name")


class ListInput(Filtered):
    filters = ReservationFilter


def plain(rows: "QuerySet[PlacementReservation]") -> "QuerySet[Any]":
    return rows.values_list("uuid", "state", "instance_id", *_NAMES, *FIGURES, *MOMENTS, named=True)


def reservation_views(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "uuid": str(row.uuid),
            "state": row.state,
            "instance_uuid": str(row.instance_id),
            "instance_name": row.instance__name,
            "namespace": row.instance__namespace__name,
            "node": row.node__name,
            **{name: getattr(row, name) for name in FIGURES},
            **{name: seconds(getattr(row, name)) for name in MOMENTS},
        }
        for row in rows
    ]


class Reservations(SystemView):
    """Oldest first. A claim without an operation that stands for it lapses at `expires_at`."""

    family = "admin"

    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = PlacementReservation.objects.order_by("created_at", "uuid")
        return listed(request, rows, wanted, reservation_views, ReservationFilter, plain)

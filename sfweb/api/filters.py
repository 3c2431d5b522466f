"""Which filters and orders each list has. Moments are seconds since 1970; names are exact."""

import datetime
from typing import Any

from django.db.models import QuerySet
from django_filters import CharFilter, ChoiceFilter, FilterSet, NumberFilter, OrderingFilter

from sfweb.models import AddressKind, ArtifactKind, ScheduleKind
from sfweb.models.state import TRANSITIONS, State


def states(model: str) -> ChoiceFilter:
    """The states that rows of this model can be in."""
    table = TRANSITIONS[model]
    known = dict.fromkeys([*table, *(state for targets in table.values() for state in sorted(targets))])
    return ChoiceFilter(field_name="state", choices=[(str(state), str(state)) for state in known])


def _moment(comparison: str) -> NumberFilter:
    def compare(rows: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        return rows.filter(**{f"created_at__{comparison}": datetime.datetime.fromtimestamp(float(value), datetime.UTC)})

    return NumberFilter(method=compare)


class Created(FilterSet):
    """Of everything that has a moment of creation."""

    created_after = _moment("gte")
    created_before = _moment("lt")


class InstanceFilter(Created):
    name = CharFilter()
    state = states("Instance")
    namespace = CharFilter(field_name="namespace__name")
    node = CharFilter(field_name="node__name")
    order = OrderingFilter(fields={"created_at": "created", "name": "name", "state": "state"})


class NetworkFilter(Created):
    name = CharFilter()
    state = states("Network")
    namespace = CharFilter(field_name="namespace__name")
    order = OrderingFilter(fields={"created_at": "created", "name": "name", "state": "state"})


LISTED = (State.INITIAL, State.CREATED, State.ERROR)
"""Only artifacts that are there, are coming or failed are listed at all."""


class ArtifactFilter(Created):
    name = CharFilter()
    state = ChoiceFilter(choices=[(str(one), str(one)) for one in LISTED])
    namespace = CharFilter(field_name="namespace__name")
    artifact_type = ChoiceFilter(field_name="kind", choices=ArtifactKind.choices)
    order = OrderingFilter(fields={"created_at": "created", "name": "name", "state": "state"})


class LabelFilter(Created):
    name = CharFilter()
    namespace = CharFilter(field_name="namespace__name")
    order = OrderingFilter(fields={"created_at": "created", "name": "name"})


class BlobFilter(Created):
    state = states("Blob")
    sha512 = CharFilter()
    order = OrderingFilter(fields={"created_at": "created", "size": "size"})


class NodeFilter(FilterSet):
    name = CharFilter()
    state = states("Node")
    order = OrderingFilter(fields={"name": "name", "last_seen": "lastseen", "state": "state"})


class ReservationFilter(Created):
    state = states("PlacementReservation")
    node = CharFilter(field_name="node__name")
    namespace = CharFilter(field_name="instance__namespace__name")
    order = OrderingFilter(fields={"created_at": "created"})


class NamespaceFilter(Created):
    name = CharFilter()
    order = OrderingFilter(fields={"created_at": "created", "name": "name"})


class SnapshotFilter(Created):
    state = states("SnapshotSet")
    namespace = CharFilter(field_name="namespace__name")
    order = OrderingFilter(fields={"created_at": "created", "instance_name": "instance_name"})


class ScheduleFilter(Created):
    name = CharFilter()
    state = states("Schedule")
    namespace = CharFilter(field_name="namespace__name")
    kind = ChoiceFilter(choices=ScheduleKind.choices)
    order = OrderingFilter(fields={"created_at": "created", "name": "name", "next_tick": "next_tick"})


class AddressFilter(FilterSet):
    type = ChoiceFilter(field_name="kind", choices=AddressKind.choices)

"""Lists: filtered, ordered and cut in SQL, and each says whether there is more (AQ-4, AQ-5, SQ-2).

A list is whole without `limit`, as the public client expects, up to MOST_ROWS. What lies behind the cut is named by
`Link: <…>; rel="next"`; without that header there is nothing more. A filter that is left out does not filter (SQ-3).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.db.models import QuerySet
from django_filters import CharFilter, ChoiceFilter, FilterSet, NumberFilter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import MOST_ROWS, Page, Text, address
from sfweb.models.state import State

LATEST = 253402300799
"""The last second of the year 9999: what a moment of the database can be."""


class Moment(serializers.FloatField):
    """Seconds since 1970."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, min_value=0, max_value=LATEST, **kwargs)


class Filtered(Page):
    """A page whose filters, and the orders that it can have, are those of a django-filter set, declared once."""

    filters: ClassVar[type[FilterSet]]

    def get_fields(self) -> dict[str, Any]:
        found: dict[str, Any] = super().get_fields()
        return found | {name: _field(one) for name, one in self.filters.base_filters.items()}


def _field(one: Any) -> serializers.Field[Any, Any, Any, Any]:
    """How what is said for one filter is checked."""
    if isinstance(one, ChoiceFilter):  # orders too
        return serializers.ChoiceField(choices=one.extra["choices"], required=False)
    if isinstance(one, NumberFilter):
        return Moment()
    assert isinstance(one, CharFilter)
    return Text(max_length=255)


def living(rows: QuerySet[Any], wanted: Mapping[str, Any]) -> QuerySet[Any]:
    """Without those that are deleted, unless `all` or a state asks for them too."""
    return rows if wanted.get("all") or "state" in wanted else rows.exclude(state=State.DELETED)


def filtered(rows: QuerySet[Any], wanted: Mapping[str, Any], filters: type[FilterSet]) -> QuerySet[Any]:
    """Rows that fit what is wanted; where an order is asked for, in that, and by uuid in the same direction among equals.

    In one direction an index gives the order; in two, the database would sort all rows for each page.
    """
    said = {name: value for name, value in wanted.items() if name in filters.base_filters}
    found: QuerySet[Any] = filters(said, queryset=rows).qs
    if "order" not in said:
        return found
    first = str(found.query.order_by[0])
    return found.order_by(first, "-pk" if first.startswith("-") else "pk")


Read = Callable[[QuerySet[Any]], QuerySet[Any]]


def _as_models(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows


def _cut(rows: QuerySet[Any], first: int, limit: int, read: Read) -> tuple[list[Any], bool]:
    """At most `limit` rows from `first` on, and whether there are more."""
    if limit >= MOST_ROWS:
        found = list(read(rows)[first : first + limit + 1])
        return found[:limit], len(found) > limit
    # The keys alone come straight from an index, in order; joins would make MariaDB read and sort all rows first.
    order = list(rows.values_list("pk", flat=True)[first : first + limit + 1])
    key_of = attrgetter(rows.model._meta.pk.attname)
    there = {key_of(row): row for row in read(rows.order_by().filter(pk__among=order[:limit]))}
    return [there[key] for key in order[:limit] if key in there], len(order) > limit


def listed(
    request: Request,
    rows: QuerySet[Any],
    wanted: Mapping[str, Any],
    views: Callable[[list[Any]], list[Any]],
    filters: type[FilterSet] | None = None,
    read: Read = _as_models,
) -> Response:
    """The page that was asked for, by the same number of queries at any length. `rows` come in a whole order.

    `read` says what is fetched of the rows once they are chosen: what it joins would slow down the choosing.
    """
    if filters is not None:
        rows = filtered(rows, wanted, filters)
    limit = wanted.get("limit", MOST_ROWS)
    found, has_more = _cut(rows, wanted.get("offset", 0), limit, read)
    response = Response(views(found))
    if has_more:
        _name_next(request, response, {**wanted, "limit": limit, "offset": wanted.get("offset", 0) + limit})
    return response


def keyset_page(
    request: Request, rows: Sequence[Any], views: list[Any], wanted: Mapping[str, Any], limit: int
) -> Response:
    """Views of rows that come newest first; a page of `limit` is followed by what is `before` its last one."""
    response = Response(views)
    if len(rows) == limit:
        _name_next(request, response, {**wanted, "before": rows[-1].uuid})
    return response


def _name_next(request: Request, response: Response, query: Mapping[str, Any]) -> None:
    response["Link"] = f'<{address(request, f"{request.path}?{urlencode(query)}")}>; rel="next"'

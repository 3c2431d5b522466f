"""Namespaces and whom they trust. Their keys are in `keys.py`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks import engine, parents
from sftasks.operations import namespace_clean
from sftasks.reconcilers import namespace_cleans
from sfweb.api.auth import IsCaller, IsSystem
from sfweb.api.base import ApiView, Flag, Input, Nothing, Text, accepted, operation_summary, takes
from sfweb.api.filters import NamespaceFilter
from sfweb.api.lists import Filtered, listed
from sfweb.domain.callers import Caller
from sfweb.domain.lookup import find_namespace, find_own_namespace
from sfweb.domain.metadata import metadata_of
from sfweb.domain.namespaces import add_trust, create_namespace, delete_namespace, remove_trust
from sfweb.models import Key, Namespace, Trust
from sfweb.models.fields import UtcNow
from sfweb.models.state import State


def namespace_views(rows: Sequence[Namespace]) -> list[dict[str, Any]]:
    """As the client reads namespaces, by three queries for any number of them."""
    uuids = [row.uuid for row in rows]
    keys, trusts = defaultdict(list), defaultdict(list)
    alive = Q(expires_at=None) | Q(expires_at__gt=UtcNow())
    living = Key.objects.filter(alive, namespace__in=uuids, state=State.CREATED).order_by("name")
    for owner, name in living.values_list("namespace_id", "name"):
        keys[owner].append(name)
    for owner, name in (
        Trust.objects.filter(namespace__in=uuids).order_by("trusted__name").values_list("namespace_id", "trusted__name")
    ):
        trusts[owner].append(name)
    metadata = metadata_of("namespace", uuids)
    return [
        {
            "name": row.name,
            "state": row.state,
            "metadata": metadata[row.uuid],
            "version": 1,
            "keys": keys[row.uuid],
            "trust": {"full": trusts[row.uuid]},
        }
        for row in rows
    ]


def visible_namespaces(caller: Caller) -> Any:
    """Living namespaces that are the caller's own or trust it."""
    rows = Namespace.objects.filter(state=State.CREATED).order_by("name")
    if caller.is_system:
        return rows
    return rows.filter(Q(uuid=caller.namespace_uuid) | Q(trusts__trusted_id=caller.namespace_uuid)).distinct()


class ListInput(Filtered):
    filters = NamespaceFilter


class NewNamespace(Input):
    namespace = Text(required=True)
    key_name = Text()
    key = Text()


class Namespaces(ApiView):
    def get_permissions(self) -> list[Any]:
        return [IsSystem()] if self.request.method == "POST" else [IsCaller()]

    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        return listed(request, visible_namespaces(self.caller), wanted, namespace_views, NamespaceFilter)

    @takes(NewNamespace, creates=True)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        row = create_namespace(self.caller, wanted["namespace"], wanted.get("key_name"), wanted.get("key"))
        return Response(namespace_views([row])[0])


class NamespaceDetail(ApiView):
    def get_permissions(self) -> list[Any]:
        return [IsSystem()] if self.request.method == "DELETE" else [IsCaller()]

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        return Response(namespace_views([find_namespace(self.caller, namespace)])[0])

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        delete_namespace(self.caller, row)
        return Response(namespace_views([row])[0])


class CleanInput(Input):
    """`confirm` is needed to empty the system namespace."""

    confirm = Flag()


class NamespaceClean(ApiView):
    """Ours: empties the namespace; the answer is the operation that does so."""

    scopes: ClassVar[Any] = {"POST": ("instance.delete", "network.delete", "artifact.delete")}

    @takes(CleanInput)
    def post(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_own_namespace(self.caller, namespace)
        made = namespace_clean.request(self.caller, row, confirmed=wanted.get("confirm", False))
        # the first page at once, the rest by the clock
        engine.after_commit(parents.go_on_with, made.operation.pk, namespace_cleans.go_on)
        made.operation.refresh_from_db()
        return accepted(request, made.operation, operation_summary(made.operation))


class NewTrust(Input):
    external_namespace = Text(required=True)


class Trusts(ApiView):
    scopes: ClassVar[Any] = {"POST": ("auth.trust",)}

    @takes(NewTrust)
    def post(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        add_trust(self.caller, row, wanted["external_namespace"])
        return Response(namespace_views([row])[0])


class TrustDetail(ApiView):
    scopes: ClassVar[Any] = {"DELETE": ("auth.trust",)}

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], namespace: str, external_namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        remove_trust(self.caller, row, external_namespace)
        return Response(namespace_views([row])[0])

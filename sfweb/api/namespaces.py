"""Namespaces, their keys, and whom they trust."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.auth import IsCaller, IsSystem
from sfweb.api.base import ApiView, Input, Nothing, Page, Text, takes
from sfweb.api.filters import NamespaceFilter
from sfweb.api.lists import Filtered, listed
from sfweb.domain.callers import Caller
from sfweb.domain.keys import living_keys, make_key, put_key, remove_key
from sfweb.domain.lookup import find_namespace
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


class KeyInput(Input):
    key_name = Text(required=True)
    key = Text()


class Keys(ApiView):
    """Names only: no answer ever contains a secret, but for one that the cluster made, once."""

    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        keys = living_keys(find_namespace(self.caller, namespace))
        return listed(request, keys.order_by("name"), wanted, lambda rows: [row.name for row in rows])

    @takes(KeyInput, creates=True)
    def post(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        if "key" in wanted:
            return Response(put_key(self.caller, row, wanted["key_name"], wanted["key"]).name)
        made = {"key_name": wanted["key_name"], "key": make_key(self.caller, row, wanted["key_name"])}
        return Response(made, headers={"Cache-Control": "no-store"})

    @takes(KeyInput)
    def put(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        return Response(put_key(self.caller, row, wanted["key_name"], wanted.get("key", "")).name)


class KeySecret(Input):
    key = Text(required=True)


class KeyDetail(ApiView):
    @takes(KeySecret)
    def put(self, request: Request, wanted: dict[str, Any], namespace: str, key_name: str) -> Response:
        return Response(put_key(self.caller, find_namespace(self.caller, namespace), key_name, wanted["key"]).name)

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], namespace: str, key_name: str) -> Response:
        remove_key(self.caller, find_namespace(self.caller, namespace), key_name)
        return Response(None)


class NewTrust(Input):
    external_namespace = Text(required=True)


class Trusts(ApiView):
    @takes(NewTrust)
    def post(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        add_trust(self.caller, row, wanted["external_namespace"])
        return Response(namespace_views([row])[0])


class TrustDetail(ApiView):
    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], namespace: str, external_namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        remove_trust(self.caller, row, external_namespace)
        return Response(namespace_views([row])[0])

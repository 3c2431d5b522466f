"""Keys of a namespace. No answer ever contains a secret, but for one that the cluster made, once."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ListField

from sfweb.api.base import ApiView, Input, Nothing, Number, Page, Text, seconds, takes
from sfweb.api.lists import listed
from sfweb.domain.keys import Terms, find_key, living_keys, make_key, put_key, remove_key
from sfweb.domain.lookup import find_namespace
from sfweb.domain.scopes import check_scopes
from sfweb.models import Key

LONGEST_SECONDS = 10 * 366 * 86400


class TermsInput(Input):
    """`expires_in` is in seconds; without it the key never expires. Without `scopes` it may all, or what it could before."""

    expires_in = Number(min_value=1, max_value=LONGEST_SECONDS)
    scopes = ListField(child=Text(required=True, max_length=64), required=False)


class KeyInput(TermsInput):
    """Without `key` the cluster makes the secret."""

    key_name = Text(required=True)
    key = Text()


class KeySecret(TermsInput):
    key = Text(required=True)


class NamedKeySecret(KeySecret):
    key_name = Text(required=True)


def terms(wanted: dict[str, Any]) -> Terms:
    scopes = wanted.get("scopes")
    return Terms(seconds=wanted.get("expires_in"), scopes=None if scopes is None else check_scopes(scopes))


def key_view(namespace: str, row: Key) -> dict[str, Any]:
    return {
        "uuid": str(row.uuid),
        "name": row.name,
        "namespace": namespace,
        "state": row.state,
        "version": 1,
        "scopes": row.scopes,
        "expires_at": seconds(row.expires_at),
        "created_at": seconds(row.created_at),
    }


class Keys(ApiView):
    """The list is of names only, as the public client expects."""

    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        keys = living_keys(find_namespace(self.caller, namespace)).order_by("name", "pk")
        return listed(request, keys, wanted, lambda rows: [row.name for row in rows])

    @takes(KeyInput, creates=True)
    def post(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        name = wanted["key_name"]
        if "key" in wanted:
            return Response(put_key(self.caller, row, name, wanted["key"], terms(wanted)).name)
        made = {"key_name": name, "key": make_key(self.caller, row, name, terms(wanted))}
        return Response(made, headers={"Cache-Control": "no-store"})

    @takes(NamedKeySecret)
    def put(self, request: Request, wanted: dict[str, Any], namespace: str) -> Response:
        row = find_namespace(self.caller, namespace)
        return Response(put_key(self.caller, row, wanted["key_name"], wanted["key"], terms(wanted)).name)


class KeyDetail(ApiView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], namespace: str, key_name: str) -> Response:
        return Response(key_view(namespace, find_key(find_namespace(self.caller, namespace), key_name)))

    @takes(KeySecret)
    def put(self, request: Request, wanted: dict[str, Any], namespace: str, key_name: str) -> Response:
        row = find_namespace(self.caller, namespace)
        return Response(put_key(self.caller, row, key_name, wanted["key"], terms(wanted)).name)

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], namespace: str, key_name: str) -> Response:
        remove_key(self.caller, find_namespace(self.caller, namespace), key_name)
        return Response(None)

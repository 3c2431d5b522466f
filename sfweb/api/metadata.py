"""Metadata of every kind of object: three verbs, one view each, by the kind that the address names."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import JSONField

from sfweb.api.auth import IsCaller, IsSystem
from sfweb.api.base import ApiView, Input, Nothing, takes
from sfweb.api.scopes import family_of_object
from sfweb.domain import lookup
from sfweb.domain.callers import Caller
from sfweb.domain.events import Target
from sfweb.domain.metadata import delete_metadata, metadata_of, set_metadata
from sfweb.errors import NotFound


class Owner(NamedTuple):
    """How a kind of object is found, for reading and for writing."""

    object_type: str
    read: Callable[[Caller, str], Any]
    write: Callable[[Caller, str], Any]
    system_only: bool = False


OWNERS = {
    "artifacts": Owner(
        "artifact", lookup.find_artifact, lambda who, ref: lookup.find_artifact(who, ref, to_write=True)
    ),
    "blobs": Owner("blob", lookup.find_blob, lookup.find_blob),
    "interfaces": Owner("interface", lookup.find_interface, lookup.find_interface),
    "instances": Owner("instance", lookup.find_instance, lookup.find_instance),
    "networks": Owner("network", lookup.find_network, lookup.find_network),
    "nodes": Owner("node", lambda who, ref: lookup.find_node(ref), lambda who, ref: lookup.find_node(ref), True),
    "auth/namespaces": Owner("namespace", lookup.find_namespace, lookup.find_namespace),
}


class Value(Input):
    """`value` is any JSON but an empty one."""

    value = JSONField(error_messages={"required": "no metadata value specified"})


class MetadataView(ApiView):
    """`plural` comes from the address table, not from the caller."""

    plural = ""

    @property
    def owner(self) -> Owner:
        return OWNERS[self.plural]

    @property
    def family(self) -> str:
        return family_of_object(self.owner.object_type)

    def target(self, ref: str) -> Target:
        """The object that the address names, if the caller may change it.

        The public client asks for instances where it means artifacts or blobs: what is no instance is one of those.
        """
        try:
            return self.owner.object_type, self.owner.write(self.caller, ref).uuid
        except NotFound:
            if self.plural != "instances":
                raise
            meant = self._meant(ref)
            if meant is None:
                raise
            return meant

    def _meant(self, ref: str) -> Target | None:
        if self.caller.scopes is not None:
            return None  # such a key may do what its scopes say of this address, which is one of instances
        for plural in ("artifacts", "blobs"):
            with suppress(NotFound):
                return OWNERS[plural].object_type, OWNERS[plural].write(self.caller, ref).uuid
        return None

    def get_permissions(self) -> list[Any]:
        return [IsSystem()] if self.owner.system_only else [IsCaller()]


class AllMetadata(MetadataView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = self.owner.read(self.caller, ref)
        return Response(metadata_of(self.owner.object_type, [row.uuid])[row.uuid])


class OneMetadata(MetadataView):
    @takes(Value)
    def put(self, request: Request, wanted: dict[str, Any], ref: str, key: str) -> Response:
        set_metadata(self.caller, self.target(ref), key, wanted["value"])
        return Response(None)

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str, key: str) -> Response:
        delete_metadata(self.caller, self.target(ref), key)
        return Response(None)

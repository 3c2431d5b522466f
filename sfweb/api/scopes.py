"""Which scopes a request needs, derived from its view and its method (AU-12, AU-14).

The family is the view's own `family`, else that of its module; the verb is the method's. A view whose right is another one
says so itself: `scopes = {"POST": ("instance.power",)}`. What cannot be derived is refused to every scoped key.
"""

from collections.abc import Mapping
from typing import Any

from sfweb.domain.callers import Caller
from sfweb.domain.scopes import CLUSTER_ADMIN, covers
from sfweb.errors import Forbidden

METHOD_VERBS = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "POST": "write",
    "PUT": "write",
    "PATCH": "write",
    "DELETE": "delete",
}
FAMILY_OF_MODULE = {
    "sfweb.api.agent_operations": "agentoperation",
    "sfweb.api.artifacts": "artifact",
    "sfweb.api.blobs": "blob",
    "sfweb.api.claims": "auth",
    "sfweb.api.cluster": "admin",
    "sfweb.api.consoles": "instance",
    "sfweb.api.graphics": "instance",
    "sfweb.api.instance_changes": "instance",
    "sfweb.api.instances": "instance",
    "sfweb.api.interfaces": "interface",
    "sfweb.api.keys": "auth",
    "sfweb.api.labels": "label",
    "sfweb.api.limits": "auth",
    "sfweb.api.namespaces": "auth",
    "sfweb.api.network_services": "network",
    "sfweb.api.networks": "network",
    "sfweb.api.nodes": "node",
    "sfweb.api.operations": "clusteroperation",
    "sfweb.api.schedules": "recurringoperation",
    "sfweb.api.snapshots": "instance",
    "sfweb.api.uploads": "upload",
}
FAMILY_OF_OBJECT = {"namespace": "auth", "operation": "clusteroperation", "schedule": "recurringoperation"}
"""Where the family is not called like the kind of object."""
WITHOUT_SCOPE = frozenset({"drf_spectacular.views"})
"""The description of the interface: it tells nothing of any namespace, so every key may read it."""


def family_of_object(object_type: str) -> str:
    return FAMILY_OF_OBJECT.get(object_type, object_type)


def scopes_of(view: Any, method: str) -> tuple[str, ...]:
    """All scopes that a request needs. Raises Forbidden where they cannot be derived."""
    module = type(view).__module__
    if module in WITHOUT_SCOPE:
        return ()
    said: Mapping[str, tuple[str, ...]] = getattr(view, "scopes", {})
    if method in said:
        return said[method]
    family = getattr(view, "family", "") or FAMILY_OF_MODULE.get(module, "")
    verb = METHOD_VERBS.get(method, "")
    if not family or not verb:
        raise Forbidden("this address is for keys without scopes", code="scope_unknown")
    return (f"{family}.{verb}",)


def require_scopes(caller: Caller, view: Any, method: str) -> None:
    """Raises Forbidden, naming what is missing. Keys without scopes may do all that their namespace may."""
    if caller.scopes is not None:
        _require(caller, scopes_of(view, method))


def require_admin(caller: Caller) -> None:
    """Beside the scope that its address needs, an administrator's address needs `cluster-admin` (AU-16)."""
    if caller.scopes is not None:
        _require(caller, (CLUSTER_ADMIN,))


def require_system(caller: Caller) -> None:
    """For the part of an address that is an administrator's alone. Raises Forbidden."""
    if not caller.is_system:
        raise Forbidden("this is for keys of the system namespace", code="system_only")
    require_admin(caller)


def require(caller: Caller, *needed: str) -> None:
    """What the request needs beside the scope of its address."""
    if caller.scopes is not None:
        _require(caller, needed)


def _require(caller: Caller, needed: tuple[str, ...]) -> None:
    missing = [scope for scope in needed if not covers(caller.scopes, scope)]
    if missing:
        raise Forbidden(
            f"the key {caller} lacks the scope {' and '.join(missing)}",
            code="scope_missing",
            details={"missing": missing},
        )

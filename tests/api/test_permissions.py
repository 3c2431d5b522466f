"""SE-18, AU-15: every verb of every address has its row here; one without a row fails.

A row says who may come in: `public`, `anyone` with a token, `owner` (foreign ones see 404), `itself` (a namespace that the
body names, foreign ones see 401), `trusted` (the owner and who it trusts), `system`. Each caller asks in the same world,
and the status of every answer is known. A key that lacks just the scope of the address is refused everywhere (AU-12).
"""

import json
import re
from typing import Any

import pytest
from django.db import transaction
from django.urls import URLPattern, URLResolver, get_resolver

from sfweb.api.base import ApiView
from sfweb.api.scopes import require_scopes
from sfweb.domain.callers import CLUSTER, Caller
from sfweb.domain.claims import make as make_claim
from sfweb.domain.keys import put_key
from sfweb.domain.placement_rules import Room
from sfweb.domain.scopes import KNOWN
from sfweb.errors import Forbidden
from sfweb.models import Artifact, ArtifactGrant, Key, NamespaceClaim
from tests.api.fake_bytes import FakeBytes
from tests.api.world import SHA512, Person, World, make_artifact, token_of

METHODS = ("get", "post", "put", "patch", "delete")
CALLERS = ("nobody", "expired", "other", "trusted", "owner", "system")
MAY = {
    "public": set(CALLERS),
    "anyone": {"other", "trusted", "owner", "system"},
    "owner": {"owner", "system"},
    "trusted": {"trusted", "owner", "system"},
    "itself": {"owner", "system"},
    "system": {"system"},
}
"""Who may come in by a row's word."""
REFUSED = {"owner": 404, "trusted": 404, "itself": 401, "system": 401}
"""What the others see."""

INST, NETW, ART, BLOB, OPER = (
    "instances/<str:ref>",
    "networks/<str:ref>",
    "artifacts/<str:ref>",
    "blobs/<str:ref>",
    "operations/<str:ref>",
)
NS = "auth/namespaces/<str:namespace>"
RECUR = "recurring_operations/<str:ref>"
MATRIX: dict[tuple[str, str], tuple[str, Any]] = {
    ("auth", "post"): ("public", {"namespace": "owner", "key": "wrong"}),
    ("auth/namespaces", "get"): ("anyone", None),
    ("auth/namespaces", "post"): ("system", {"namespace": "fresh"}),
    (NS, "get"): ("trusted", None),
    (NS, "delete"): ("system", None),
    (f"{NS}/keys", "get"): ("trusted", None),
    (f"{NS}/keys", "post"): ("trusted", {"key_name": "n", "key": "s", "scopes": ["auth.write"]}),
    (f"{NS}/keys", "put"): ("trusted", {"key_name": "n", "key": "s", "scopes": ["auth.write"]}),
    (f"{NS}/keys/<str:key_name>", "get"): ("trusted", None),
    (f"{NS}/keys/<str:key_name>", "put"): ("trusted", {"key": "s", "scopes": ["auth.write"]}),
    (f"{NS}/keys/<str:key_name>", "delete"): ("trusted", None),
    (f"{NS}/clean", "post"): ("owner", None),
    (f"{NS}/claims", "get"): ("system", None),
    (f"{NS}/claims", "post"): ("system", {"cpus": 8, "memory": 1024, "disk": 20}),
    (f"{NS}/claims/<str:claim>", "get"): ("system", None),
    (f"{NS}/claims/<str:claim>", "put"): ("system", {"cpus": 9}),
    (f"{NS}/claims/<str:claim>", "delete"): ("system", None),
    (f"{NS}/limits", "get"): ("trusted", None),
    (f"{NS}/limits", "put"): ("system", {"instances": 3}),
    (f"{NS}/trust", "post"): ("trusted", {"external_namespace": "other"}),
    (f"{NS}/trust/<str:external_namespace>", "delete"): ("trusted", None),
    ("instances", "get"): ("anyone", None),
    ("instances", "post"): ("anyone", {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}),
    ("instances/batch", "post"): (
        "anyone",
        {"instances": [{"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}]},
    ),
    ("instances", "delete"): ("itself", {"confirm": True, "namespace": "owner"}),
    (INST, "get"): ("owner", None),
    (INST, "delete"): ("owner", None),
    (INST, "patch"): ("owner", {"name": "renamed"}),
    (f"{INST}/interfaces", "get"): ("owner", None),
    (f"{INST}/interfaces", "post"): ("owner", {"network": {"network_uuid": "net"}}),
    (f"{INST}/disks", "post"): ("owner", {"size": 1}),
    (f"{INST}/disks/<str:device>", "delete"): ("owner", None),
    (f"{INST}/console", "post"): ("owner", {}),
    (f"{INST}/consoledata", "get"): ("owner", None),
    (f"{INST}/vdiconsolehelper", "get"): ("owner", None),
    (f"{INST}/vdiconsoleproxy", "get"): ("owner", None),
    (f"{INST}/screenshot", "get"): ("owner", None),
    ("screens/<str:ticket>", "get"): ("public", None),
    (f"{INST}/consoledata", "delete"): ("owner", None),
    (f"{INST}/rebootsoft", "post"): ("owner", None),
    (f"{INST}/reboothard", "post"): ("owner", None),
    (f"{INST}/poweroff", "post"): ("owner", None),
    (f"{INST}/poweron", "post"): ("owner", None),
    (f"{INST}/pause", "post"): ("owner", None),
    (f"{INST}/unpause", "post"): ("owner", None),
    (f"{INST}/agent/execute", "post"): ("owner", {"command_line": "true"}),
    (f"{INST}/agent/put", "post"): ("owner", {"blob_uuid": "BLOB", "path": "/x", "mode": 33188}),
    (f"{INST}/agent/get", "post"): ("owner", {"path": "/x"}),
    (f"{INST}/agentoperations", "get"): ("owner", None),
    (f"{INST}/snapshot", "get"): ("owner", None),
    (f"{INST}/snapshot", "post"): ("owner", {"all": True, "device": None, "thin": False}),
    (f"{INST}/revert", "post"): ("owner", {"snapshot": "SNAPSHOT"}),
    ("snapshots/<str:ref>/export", "get"): ("owner", None),
    ("imports", "post"): ("trusted", {"artifact": "ARTIFACT"}),
    ("snapshots", "get"): ("anyone", None),
    ("snapshots/<str:ref>", "get"): ("owner", None),
    ("snapshots/<str:ref>", "delete"): ("owner", None),
    ("agentoperations/<str:ref>", "get"): ("owner", None),
    ("agentoperations/<str:ref>", "delete"): ("owner", None),
    ("networks", "get"): ("anyone", None),
    ("networks", "post"): ("anyone", {"name": "new", "netblock": "10.9.0.0/24"}),
    ("networks", "delete"): ("itself", {"confirm": True, "namespace": "owner"}),
    (NETW, "get"): ("owner", None),
    (NETW, "delete"): ("owner", None),
    (f"{NETW}/interfaces", "get"): ("owner", None),
    (f"{NETW}/addresses", "get"): ("owner", None),
    (f"{NETW}/route", "post"): ("owner", None),
    (f"{NETW}/route/<str:address>", "delete"): ("owner", None),
    (f"{NETW}/dns", "post"): ("owner", {"name": "www", "value": "10.0.0.9"}),
    (f"{NETW}/dns", "delete"): ("owner", {"name": "ftp"}),
    (f"{NETW}/ping/<str:address>", "get"): ("owner", None),
    ("interfaces/<str:ref>", "get"): ("owner", None),
    ("interfaces/<str:ref>", "delete"): ("owner", None),
    ("interfaces/<str:ref>/float", "post"): ("owner", None),
    ("interfaces/<str:ref>/defloat", "post"): ("owner", None),
    ("artifacts", "get"): ("anyone", None),
    ("artifacts", "post"): ("anyone", {"url": "http://example.com/new"}),
    ("artifacts", "delete"): ("itself", {"confirm": True, "namespace": "owner"}),
    ("artifacts/upload/<str:name>", "post"): ("trusted", {"blob_uuid": "BLOB"}),
    (ART, "get"): ("trusted", None),
    (ART, "delete"): ("trusted", None),
    (f"{ART}/versions", "get"): ("trusted", None),
    (f"{ART}/versions", "post"): ("trusted", {"max_versions": 2}),
    (f"{ART}/versions/<int:index>", "delete"): ("trusted", None),
    (f"{ART}/grants", "get"): ("trusted", None),
    (f"{ART}/grants", "post"): ("trusted", {"namespace": "other"}),
    (f"{ART}/grants/<str:namespace>", "delete"): ("trusted", None),
    ("labels", "get"): ("anyone", None),
    ("label/<path:name>", "get"): ("trusted", None),
    ("label/<path:name>", "post"): ("owner", {"blob_uuid": "BLOB"}),
    ("label/<path:name>", "delete"): ("owner", None),
    ("images", "get"): ("anyone", None),
    (f"{ART}/share", "post"): ("trusted", None),
    (f"{ART}/unshare", "post"): ("trusted", None),
    ("upload", "post"): ("anyone", None),
    ("upload/<str:ref>", "get"): ("owner", None),
    ("upload/<str:ref>", "post"): ("owner", b"bytes"),
    ("upload/<str:ref>/truncate/<str:offset>", "post"): ("owner", None),
    ("blobs", "get"): ("system", None),
    (BLOB, "get"): ("trusted", None),
    (f"{BLOB}/data", "get"): ("trusted", None),
    (f"{BLOB}/checksum/<str:algorithm>", "get"): ("trusted", None),
    ("blob_checksums/<str:algorithm>/<str:checksum>", "get"): ("anyone", None),
    ("nodes", "get"): ("system", None),
    ("nodes/<str:ref>", "get"): ("system", None),
    ("nodes/<str:ref>", "delete"): ("system", None),
    ("nodes/<str:ref>/processmetrics", "get"): ("system", None),
    ("nodes/<str:ref>/cordon", "post"): ("system", None),
    ("nodes/<str:ref>/clear-error", "post"): ("system", None),
    ("nodes/<str:ref>/drain", "post"): ("system", {"cold": False}),
    (f"{INST}/migrate", "post"): ("system", {"live": True}),
    (f"{INST}/rebuild", "post"): ("system", {"blank": True}),
    ("nodes/<str:ref>/uncordon", "post"): ("system", None),
    ("admin/locks", "get"): ("system", None),
    ("admin/reservations", "get"): ("system", None),
    ("admin/resources", "get"): ("system", None),
    ("admin/cacert", "get"): ("anyone", None),
    ("admin/vditokenpubkey", "get"): ("anyone", None),
    ("operations", "get"): ("anyone", None),
    (OPER, "get"): ("owner", None),
    (OPER, "delete"): ("owner", None),
    (f"{OPER}/why", "get"): ("owner", None),
    (f"{OPER}/cancel", "post"): ("owner", None),
    ("recurring_operations", "get"): ("anyone", None),
    ("recurring_operations", "post"): (
        "owner",
        {"name": "n", "instance": "INSTANCE", "kind": "snapshot", "every_seconds": 60},
    ),
    (RECUR, "get"): ("owner", None),
    (RECUR, "patch"): ("owner", {"every_seconds": 60}),
    (RECUR, "delete"): ("owner", None),
    (f"{RECUR}/pause", "post"): ("owner", None),
    (f"{RECUR}/resume", "post"): ("owner", None),
    (f"{RECUR}/trigger", "post"): ("owner", None),
    (f"{RECUR}/ticks", "get"): ("owner", None),
    ("clusteroperations", "get"): ("anyone", {"target_object_type": "instance", "target_uuid": "INSTANCE"}),
    ("clusteroperations/<str:ref>/chain", "get"): ("owner", None),
    ("clusteroperations/<str:op_type>/<str:ref>", "get"): ("owner", None),
    ("clusteroperations/<str:op_type>/<str:ref>", "delete"): ("owner", None),
    ("openapi.json", "get"): ("anyone", None),
    ("docs/", "get"): ("anyone", None),
    ("docs/redoc/", "get"): ("anyone", None),
}
for plural, who in {
    "artifacts": "trusted",
    "blobs": "trusted",
    "interfaces": "owner",
    "instances": "owner",
    "networks": "owner",
    "nodes": "system",
    "auth/namespaces": "trusted",
}.items():
    MATRIX[f"{plural}/<str:ref>/metadata", "get"] = (who, None)
    MATRIX[f"{plural}/<str:ref>/metadata/<str:key>", "put"] = (who, {"value": "v"})
    MATRIX[f"{plural}/<str:ref>/metadata/<str:key>", "delete"] = (who, None)
    if plural != "interfaces":
        MATRIX[f"{plural}/<str:ref>/events", "get"] = (who, None)
MATRIX[f"{OPER}/events", "get"] = ("owner", None)
MATRIX[f"{RECUR}/events", "get"] = ("owner", None)
for plural, who in {"instances": "owner", "networks": "owner", "artifacts": "trusted"}.items():
    for word in ("clusteroperations", "operations"):
        MATRIX[f"{plural}/<str:ref>/{word}", "get"] = (who, None)

ANSWERS: dict[tuple[str, str], int] = {
    ("auth", "post"): 401,  # the key is wrong
    (NS, "delete"): 400,  # it has instances
    (f"{NS}/clean", "post"): 202,
    ("instances/batch", "post"): 202,
    ("instances/<str:ref>", "patch"): 202,
    (f"{INST}/disks", "post"): 202,
    (f"{INST}/disks/<str:device>", "delete"): 409,  # the only disk
    (f"{INST}/poweron", "post"): 409,
    (f"{INST}/unpause", "post"): 409,
    (f"{INST}/revert", "post"): 202,
    ("interfaces/<str:ref>", "delete"): 202,
    ("interfaces/<str:ref>/float", "post"): 409,  # its network has no router
    ("interfaces/<str:ref>/defloat", "post"): 409,
    ("networks", "delete"): 403,  # one is in use
    (NETW, "delete"): 202,
    (f"{NETW}/route", "post"): 409,
    (f"{NETW}/route/<str:address>", "delete"): 403,  # another network's
    (f"{NETW}/dns", "post"): 406,
    (f"{NETW}/dns", "delete"): 406,
    (f"{NETW}/ping/<str:address>", "get"): 400,  # outside the network
    (f"{ART}/share", "post"): 403,  # not in system
    (f"{ART}/unshare", "post"): 403,
    ("imports", "post"): 400,  # the image is no exported instance
    ("snapshots/<str:ref>/export", "get"): 409,  # of an instance whose settings nobody has kept
    ("nodes/<str:ref>", "delete"): 409,  # it has instances
    ("nodes/<str:ref>/drain", "post"): 202,
    ("nodes/<str:ref>/clear-error", "post"): 409,  # it has none
    (f"{INST}/migrate", "post"): 409,  # an operation works on it
    (f"{INST}/rebuild", "post"): 409,
    ("admin/cacert", "get"): 404,  # none is configured
    ("admin/vditokenpubkey", "get"): 404,
    (OPER, "delete"): 202,
    ("clusteroperations/<str:op_type>/<str:ref>", "delete"): 202,
    (f"{OPER}/cancel", "post"): 202,
    (f"{RECUR}/trigger", "post"): 202,
    ("screens/<str:ticket>", "get"): 401,  # there is no such ticket
}
"""The status for those who may come in, where it is not 200."""

SCOPES = {
    "auth": "auth",
    "instances": "instance",
    "networks": "network",
    "interfaces": "interface",
    "artifacts": "artifact",
    "snapshots": "artifact",
    "imports": "instance",
    "labels": "label",
    "label": "label",
    "images": "label",
    "upload": "upload",
    "blobs": "blob",
    "blob_checksums": "blob",
    "nodes": "node",
    "admin": "admin",
    "operations": "clusteroperation",
    "clusteroperations": "clusteroperation",
    "agentoperations": "agentoperation",
    "recurring_operations": "recurringoperation",
}
"""The family of scopes by the first word of an address."""
OTHER_SCOPES: dict[tuple[str, str], tuple[str, ...]] = {
    (f"{INST}/console", "post"): ("instance.console",),
    (f"{INST}/vdiconsolehelper", "get"): ("instance.console",),
    (f"{INST}/vdiconsoleproxy", "get"): ("instance.console",),
    (f"{INST}/agentoperations", "get"): ("agentoperation.read",),
    (f"{NS}/clean", "post"): ("instance.delete", "network.delete", "artifact.delete"),
    ("recurring_operations", "post"): ("recurringoperation.write", "instance.write"),
    (RECUR, "patch"): ("recurringoperation.write", "instance.write"),
    (f"{NS}/trust", "post"): ("auth.trust",),
    (f"{NS}/trust/<str:external_namespace>", "delete"): ("auth.trust",),
}
for verb in ("execute", "put", "get"):
    OTHER_SCOPES[f"{INST}/agent/{verb}", "post"] = ("agentoperation.write",)
for verb in ("rebootsoft", "reboothard", "poweroff", "poweron", "pause", "unpause"):
    OTHER_SCOPES[f"{INST}/{verb}", "post"] = ("instance.power",)
VERBS = {"get": "read", "post": "write", "put": "write", "patch": "write", "delete": "delete"}
UNSCOPED = {"openapi.json", "docs/", "docs/redoc/"}

PAGES = {"", "livez", "readyz", "healthz", "health/", "login", "logout"}
"""Addresses that are no views of the API: the root, the probes (public, HC-3) and the pages of people."""


def served() -> set[tuple[str, str]]:
    """(route, verb) of everything in the URL map, but for the administration, which asks for staff by itself."""
    found = set()

    def walk(patterns: Any, prefix: str) -> None:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                if route != "admin/":
                    walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern):
                view = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
                found.update((route, method) for method in METHODS if hasattr(view, method) and route not in PAGES)
                assert view or route in PAGES, f"{route} is neither a view of the API nor a known page"

    walk(get_resolver().url_patterns, "")
    return found


def address(world: World, route: str) -> str:
    plural = route.split("/", maxsplit=1)[0]
    refs = {
        "instances": world.instance.uuid,
        "networks": world.network.uuid,
        "interfaces": world.interface.uuid,
        "artifacts": world.artifact.uuid,
        "blobs": world.blob.uuid,
        "nodes": world.node.name,
        "upload": world.upload.uuid,
        "snapshots": world.snapshot.uuid,
        "agentoperations": world.agent_operation.uuid,
        "operations": world.operation.uuid,
        "recurring_operations": world.schedule.uuid,
        "clusteroperations": world.operation.uuid,
        "auth": "owner",
    }
    values = {
        "ref": str(refs.get(plural, "")),
        "namespace": "owner",
        "key_name": "k2",
        "external_namespace": "other",
        "key": "a",
        "name": "published",
        "offset": "0",
        "device": "vda",
        "ticket": "none",
        "algorithm": "sha512",
        "checksum": SHA512,
        "op_type": "instance_create",
        "index": "1",
        "claim": str(getattr(NamespaceClaim.objects.first(), "pk", "none")),
        "address": "192.168.20.9",
    }
    if plural == "label":
        values["name"] = "owner/stable"
    if "/grants/" in route:
        values["namespace"] = "trusted"
    for name, value in values.items():
        route = re.sub(f"<(str|int|path):{name}>", value, route)
    return f"/{route}"


def prepare(world: World, route: str) -> None:
    """What an address names beside the world's own objects."""
    put_key(CLUSTER, world.owner, "k2", "secret")
    ArtifactGrant.objects.get_or_create(artifact=world.artifact, namespace=world.trusted)
    if route.endswith("<str:claim>"):
        make_claim(CLUSTER, world.owner, Room(cpus=8, memory_mb=1024, disk_gb=20))
    if route.startswith("label/"):
        label = make_artifact(world.owner, "stable", world.blob)
        Artifact.objects.filter(pk=label.pk).update(kind="label", source_url="sf://label/owner/stable")


def spelled(world: World, body: Any) -> Any:
    """A row's body with the world's uuids in it."""
    named = {"BLOB": world.blob, "INSTANCE": world.instance, "SNAPSHOT": world.snapshot, "ARTIFACT": world.artifact}
    text = {name: str(row.uuid) for name, row in named.items()}
    if not isinstance(body, dict):
        return body
    return {name: text.get(value, value) if isinstance(value, str) else value for name, value in body.items()}


def test_se_18_every_address_has_its_row():
    assert served() == set(MATRIX)


def is_a_page(answer: Any) -> bool:
    return bool(answer["Content-Type"].startswith("text/html"))


@pytest.mark.parametrize(("route", "method"), sorted(MATRIX), ids=str)
def test_se_18_who_may(route: str, method: str, world: World, node_bytes: FakeBytes, settings: Any):
    body = MATRIX[route, method][1]
    people = {name: world.person(name) for name in CALLERS if name != "expired"}
    settings.API_TOKEN_SECONDS = -5
    people["expired"] = Person(token_of(world.owner))
    prepare(world, route)
    for who in CALLERS:
        before = transaction.savepoint()
        answer = people[who].ask(method.upper(), address(world, route), spelled(world, body))
        content = answer.getvalue()
        transaction.savepoint_rollback(before)
        assert answer.status_code == expected(route, method, who), f"{who}: {content[:200]!r}"
        if is_a_page(answer):
            continue
        assert not answer.cookies
        if answer.status_code >= 400:
            assert json.loads(content)["status"] == answer.status_code
        if answer.status_code == 401:
            assert answer["WWW-Authenticate"].startswith("Bearer")


def expected(route: str, method: str, who: str) -> int:
    word = MATRIX[route, method][0]
    if who in MAY[word]:
        return ANSWERS.get((route, method), 200)
    if who in ("nobody", "expired"):
        return 302 if route.startswith("docs/") else 401  # people are sent to the login page
    return REFUSED[word]


def needed_scopes(route: str, method: str) -> tuple[str, ...]:
    """What the address needs, told by the address and not by its view."""
    if (route, method) in OTHER_SCOPES:
        return OTHER_SCOPES[route, method]
    return (f"{SCOPES[route.split('/', maxsplit=1)[0]]}.{VERBS[method]}",)


@pytest.mark.parametrize(
    ("route", "method"), sorted(row for row in MATRIX if MATRIX[row][0] != "public" and row[0] not in UNSCOPED), ids=str
)
def test_au_12_au_16_se_18_a_key_needs_the_scope_of_the_address(
    route: str, method: str, world: World, node_bytes: FakeBytes
):
    word, body = MATRIX[route, method]
    prepare(world, route)
    namespace = world.system if word == "system" else world.owner
    needed = {*needed_scopes(route, method), *(("cluster-admin",) if word == "system" else ())}
    assert needed <= KNOWN

    def ask(scopes: set[str]) -> Any:
        Key.objects.filter(namespace=namespace, name="k").update(scopes=sorted(scopes))
        before = transaction.savepoint()
        answer = Person(token_of(namespace)).ask(method.upper(), address(world, route), spelled(world, body))
        content = answer.getvalue()
        transaction.savepoint_rollback(before)
        return answer.status_code, content

    for missing in needed:
        families = {f"{scope.partition('.')[0]}.*" for scope in needed} if "." in missing else set()
        status, content = ask(set(KNOWN) - {missing, "*"} - families)
        assert (status, json.loads(content)["details"]) == (403, {"missing": [missing]})
    assert ask(needed)[0] == expected(route, method, "system" if word == "system" else "owner")


@pytest.mark.parametrize("route", sorted(UNSCOPED))
def test_au_14_what_has_no_scope_is_named(route: str, world: World):
    Key.objects.filter(namespace=world.owner).update(scopes=["upload.write"])
    assert Person(token_of(world.owner)).get(f"/{route}").status_code == 200


def test_au_14_a_scope_that_cannot_be_derived_is_refused():
    class Unplaced(ApiView):
        pass

    scoped = Caller(namespace="owner", namespace_uuid=None, scopes=tuple(KNOWN - {"*"}))
    with pytest.raises(Forbidden):
        require_scopes(scoped, Unplaced(), "GET")
    require_scopes(CLUSTER, Unplaced(), "GET")


def test_iv_1_every_verb_checks_its_input():
    """A verb without `@takes` would accept anything."""
    loose = []
    for pattern in get_resolver().url_patterns[-1].url_patterns:
        view = pattern.callback.cls
        for method in METHODS:
            verb = getattr(view, method, None)
            if verb and not hasattr(verb, "input_class") and not getattr(view, "takes_bytes", False):
                loose.append(f"{method} {pattern.pattern}")
    assert not loose
    assert issubclass(view, ApiView)

"""SE-18, AU-15: every verb of every address has its row here; one without a row fails.

A row says who may come in: `public`, `anyone` with a token, `owner` (foreign ones see 404), `trusted` (the owner and who
it trusts), `system`. The answer to those who may is never 401 or 404.
"""

import re
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from sfweb.api.base import ApiView
from sfweb.domain.callers import CLUSTER
from sfweb.domain.keys import put_key
from sfweb.models import Artifact, ArtifactGrant
from tests.api.fake_bytes import FakeBytes
from tests.api.world import SHA512, World, make_artifact, token_of

METHODS = ("get", "post", "put", "patch", "delete")
CALLERS = ("nobody", "expired", "other", "trusted", "owner", "system")
MAY = {
    "public": set(CALLERS),
    "anyone": {"other", "trusted", "owner", "system"},
    "owner": {"owner", "system"},
    "trusted": {"trusted", "owner", "system"},
    "system": {"system"},
}
"""Who may come in by a row's word."""

INST, NETW, ART, BLOB, OPER = (
    "instances/<str:ref>",
    "networks/<str:ref>",
    "artifacts/<str:ref>",
    "blobs/<str:ref>",
    "operations/<str:ref>",
)
NS = "auth/namespaces/<str:namespace>"
MATRIX: dict[tuple[str, str], tuple[str, Any]] = {
    ("auth", "post"): ("public", {"namespace": "owner", "key": "wrong"}),
    ("auth/namespaces", "get"): ("anyone", None),
    ("auth/namespaces", "post"): ("system", {"namespace": "fresh"}),
    (NS, "get"): ("trusted", None),
    (NS, "delete"): ("system", None),
    (f"{NS}/keys", "get"): ("trusted", None),
    (f"{NS}/keys", "post"): ("trusted", {"key_name": "n", "key": "s"}),
    (f"{NS}/keys", "put"): ("trusted", {"key_name": "n", "key": "s"}),
    (f"{NS}/keys/<str:key_name>", "put"): ("trusted", {"key": "s"}),
    (f"{NS}/keys/<str:key_name>", "delete"): ("trusted", None),
    (f"{NS}/trust", "post"): ("trusted", {"external_namespace": "other"}),
    (f"{NS}/trust/<str:external_namespace>", "delete"): ("trusted", None),
    ("instances", "get"): ("anyone", None),
    ("instances", "post"): ("anyone", {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}),
    ("instances", "delete"): ("owner", {"confirm": True, "namespace": "owner"}),
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
    ("networks", "delete"): ("owner", {"confirm": True, "namespace": "owner"}),
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
    ("artifacts", "delete"): ("owner", {"confirm": True, "namespace": "owner"}),
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
    ("operations", "get"): ("anyone", None),
    (OPER, "get"): ("owner", None),
    (OPER, "delete"): ("owner", None),
    (f"{OPER}/cancel", "post"): ("owner", None),
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
for plural, who in {"instances": "owner", "networks": "owner", "artifacts": "trusted"}.items():
    for word in ("clusteroperations", "operations"):
        MATRIX[f"{plural}/<str:ref>/{word}", "get"] = (who, None)

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
        "address": "192.168.20.9",
    }
    if plural == "label":
        values["name"] = "owner/stable"
    if "/grants/" in route:
        values["namespace"] = "trusted"
    for name, value in values.items():
        route = re.sub(f"<(str|int|path):{name}>", value, route)
    return f"/{route}"


def test_se_18_every_address_has_its_row():
    assert served() == set(MATRIX)


@pytest.mark.parametrize(("route", "method"), sorted(MATRIX), ids=str)
def test_se_18_who_may(route: str, method: str, world: World, node_bytes: FakeBytes, settings: Any):
    word, body = MATRIX[route, method]
    text = {
        "BLOB": str(world.blob.uuid),
        "INSTANCE": str(world.instance.uuid),
        "SNAPSHOT": str(world.snapshot.uuid),
        "ARTIFACT": str(world.artifact.uuid),
    }
    if isinstance(body, dict):
        body = {name: text.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    path = address(world, route)
    if route.startswith("label/"):
        label = make_artifact(world.owner, "stable", world.blob)
        Artifact.objects.filter(pk=label.pk).update(kind="label", source_url="sf://label/owner/stable")
    people = {name: world.person(name) for name in CALLERS if name != "expired"}
    settings.API_TOKEN_SECONDS = -5
    people["expired"] = type(people["owner"])(token_of(world.owner))
    for who in CALLERS:
        put_key(CLUSTER, world.owner, "k2", "secret")
        ArtifactGrant.objects.get_or_create(artifact=world.artifact, namespace=world.trusted)
        answer = people[who].ask(method.upper(), path, body)
        content = answer.getvalue()
        is_page = answer["Content-Type"].startswith("text/html")  # people are sent to the login page
        came_in = answer.status_code not in (302, 401, 404)
        if word == "public":
            continue
        assert answer.status_code < 500 or answer.status_code == 507, content
        assert came_in == (who in MAY[word]), f"{who}: {answer.status_code} {content[:200]!r}"
        if who in ("nobody", "expired") and not is_page:
            assert answer.status_code == 401
            assert answer["WWW-Authenticate"].startswith("Bearer")
        assert is_page or not answer.cookies
        if not came_in and not is_page:
            assert answer.json()["status"] == answer.status_code


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

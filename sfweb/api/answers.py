"""What every verb of every address answers: the status and shape of success, and the refusals that can occur.

The OpenAPI document is made of this table, and each answer in the tests of the API is held against it. Not said again in
each line: 400 and 503 can come from anywhere, 401 and 403 (a key that may not do this) from all but what is public, 404
where the address names something, 409 from what creates (`Idempotency-Key`).
"""

from collections.abc import Iterator
from typing import NamedTuple

from sfweb.api.shapes import ANYTHING, BYTES, FREE, NULL, NUMBER, TEXT, WHOLE, Shape, many, mapping, maybe, ref

JSON = "application/json"
OCTETS = "application/octet-stream"
VIEWER = "application/x-virt-viewer"


class Answer(NamedTuple):
    """`operation`: also 202 with an operation, which the Link header names, where the caller or the wait asks for it."""

    shape: Shape
    status: int = 200
    refusals: tuple[int, ...] = ()
    operation: bool = False
    media: str = JSON
    public: bool = False


def shows(shape: Shape, *refusals: int) -> Answer:
    return Answer(shape, 200, refusals)


def starts(shape: Shape, *refusals: int) -> Answer:
    """200 with the object, or 202 with the operation for `Prefer: respond-async`."""
    return Answer(shape, 200, refusals, operation=True)


def accepts(shape: Shape, *refusals: int) -> Answer:
    """202 with the object or, for `Prefer: respond-async`, the operation."""
    return Answer({"anyOf": [shape, ref("Operation")]}, 202, refusals)


INSTANCE, NETWORK, ARTIFACT, BLOB = ref("Instance"), ref("Network"), ref("Artifact"), ref("Blob")
NAMESPACE, NODE, OPERATION, CLUSTER = ref("Namespace"), ref("Node"), ref("Operation"), ref("ClusterOperation")
INST, NETW, ART = "/instances/{ref}", "/networks/{ref}", "/artifacts/{ref}"
SCHEDULE, RECURRING = ref("RecurringOperation"), "/recurring_operations/{ref}"
NS, OPER = "/auth/namespaces/{namespace}", "/operations/{ref}"
POWER = ("rebootsoft", "reboothard", "poweroff", "poweron", "pause", "unpause")
PLURALS = ("artifacts", "blobs", "interfaces", "instances", "networks", "nodes", "auth/namespaces")
WITH_EVENTS = (
    "artifacts",
    "blobs",
    "instances",
    "networks",
    "nodes",
    "auth/namespaces",
    "operations",
    "recurring_operations",
)


def _alike() -> Iterator[tuple[tuple[str, str], Answer]]:
    """Addresses of which there are several of a kind."""
    for verb in POWER:
        yield (f"{INST}/{verb}", "post"), starts(NULL, 406, 409, 507)
    for plural in PLURALS:
        yield (f"/{plural}/{{ref}}/metadata", "get"), shows(FREE)
        yield (f"/{plural}/{{ref}}/metadata/{{key}}", "put"), shows(NULL)
        yield (f"/{plural}/{{ref}}/metadata/{{key}}", "delete"), shows(NULL)
    for plural in WITH_EVENTS:
        yield (f"/{plural}/{{ref}}/events", "get"), shows(many(ref("Event")))
    for plural in ("instances", "networks", "artifacts"):
        for word in ("clusteroperations", "operations"):
            yield (f"/{plural}/{{ref}}/{word}", "get"), shows(many(CLUSTER))


ANSWERS: dict[tuple[str, str], Answer] = {
    ("/auth", "post"): Answer(ref("Token"), 200, (401, 404), public=True),
    ("/auth/namespaces", "get"): shows(many(NAMESPACE)),
    ("/auth/namespaces", "post"): shows(NAMESPACE),
    (NS, "get"): shows(NAMESPACE),
    (NS, "delete"): shows(NAMESPACE),
    (f"{NS}/keys", "get"): shows(many(TEXT)),
    (f"{NS}/keys", "post"): shows(ref("NewKey")),
    (f"{NS}/keys", "put"): shows(ref("NewKey")),
    (f"{NS}/keys/{{key_name}}", "get"): shows(ref("Key")),
    (f"{NS}/keys/{{key_name}}", "put"): shows(TEXT),
    (f"{NS}/keys/{{key_name}}", "delete"): shows(NULL),
    (f"{NS}/claims", "get"): shows(many(ref("Claim"))),
    (f"{NS}/claims", "post"): shows(ref("Claim"), 409, 507),
    (f"{NS}/claims/{{claim}}", "get"): shows(ref("Claim")),
    (f"{NS}/claims/{{claim}}", "put"): shows(ref("Claim"), 409, 507),
    (f"{NS}/claims/{{claim}}", "delete"): shows(ref("Claim")),
    (f"{NS}/limits", "get"): shows(mapping(ref("Limit"))),
    (f"{NS}/limits", "put"): shows(mapping(ref("Limit"))),
    (f"{NS}/clean", "post"): Answer(OPERATION, 202),
    (f"{NS}/trust", "post"): shows(NAMESPACE),
    (f"{NS}/trust/{{external_namespace}}", "delete"): shows(NAMESPACE),
    ("/instances", "get"): shows(many(INSTANCE)),
    ("/instances", "post"): starts({"anyOf": [INSTANCE, ref("PlacementDiagnosis")]}, 404, 406, 507),
    ("/instances/batch", "post"): Answer(many(INSTANCE), 202, (404, 406, 507)),
    ("/instances", "delete"): shows(many(TEXT), 404),
    (INST, "get"): shows(INSTANCE),
    (INST, "delete"): starts(INSTANCE),
    (INST, "patch"): accepts(INSTANCE, 406, 409, 507),
    (f"{INST}/interfaces", "get"): shows(many(ref("Interface"))),
    (f"{INST}/interfaces", "post"): starts(ref("Interface"), 406, 507),
    (f"{INST}/disks", "post"): accepts(maybe(ref("BlockDevice")), 406, 507),
    (f"{INST}/disks/{{device}}", "delete"): accepts(maybe(ref("BlockDevice")), 406, 409),
    (f"{INST}/console", "post"): shows(ref("ConsoleTicket"), 406),
    (f"{INST}/consoledata", "get"): Answer(TEXT, media="text/plain"),
    (f"{INST}/consoledata", "delete"): shows(NULL),
    (f"{INST}/vdiconsolehelper", "get"): Answer(TEXT, 200, (406, 409), media=VIEWER),
    (f"{INST}/vdiconsoleproxy", "get"): shows(ref("ScreenAddress"), 406, 409),
    ("/screens/{ticket}", "get"): Answer(TEXT, 200, (401, 403, 406, 409), media=VIEWER, public=True),
    (f"{INST}/screenshot", "get"): shows(TEXT, 406, 409),
    (f"{INST}/agent/execute", "post"): starts(ref("AgentOperation"), 406),
    (f"{INST}/agent/put", "post"): starts(ref("AgentOperation"), 406),
    (f"{INST}/agent/get", "post"): starts(ref("AgentOperation"), 406),
    (f"{INST}/agentoperations", "get"): shows(many(ref("AgentOperation"))),
    (f"{INST}/snapshot", "get"): shows(many(ref("CapturedDisk"))),
    (f"{INST}/snapshot", "post"): starts(ref("Captures"), 406),
    (f"{INST}/revert", "post"): accepts(ref("Reversion"), 406, 409, 507),
    ("/snapshots", "get"): shows(many(ref("SnapshotSet")), 404),
    ("/snapshots/{ref}", "get"): shows(ref("SnapshotSet")),
    ("/snapshots/{ref}/export", "get"): Answer(BYTES, 200, (406, 409), media="application/x-tar"),
    ("/imports", "post"): starts(INSTANCE, 404, 406, 507),
    ("/snapshots/{ref}", "delete"): starts(ref("SnapshotSet"), 409),
    ("/agentoperations/{ref}", "get"): shows(ref("AgentOperation")),
    ("/agentoperations/{ref}", "delete"): shows(NULL, 409),
    ("/networks", "get"): shows(many(NETWORK)),
    ("/networks", "post"): starts(NETWORK, 404, 507),
    ("/networks", "delete"): Answer(many(ref("NetworkDeletion")), 202, (404,)),
    (NETW, "get"): shows(NETWORK),
    (NETW, "delete"): accepts(ref("OperationHandle")),
    (f"{NETW}/interfaces", "get"): shows(many(ref("Interface"))),
    (f"{NETW}/addresses", "get"): shows(many(ref("Address"))),
    (f"{NETW}/route", "post"): starts(TEXT, 406, 409, 507),
    (f"{NETW}/route/{{address}}", "delete"): starts(NULL, 406),
    (f"{NETW}/dns", "post"): starts(NULL, 406, 500),
    (f"{NETW}/dns", "delete"): starts(NULL, 406, 500),
    (f"{NETW}/ping/{{address}}", "get"): starts(ref("Echoes"), 406, 500),
    ("/interfaces/{ref}", "get"): shows(ref("Interface")),
    ("/interfaces/{ref}", "delete"): accepts(ref("Interface"), 406, 409),
    ("/interfaces/{ref}/float", "post"): starts(NULL, 406, 409, 507),
    ("/interfaces/{ref}/defloat", "post"): starts(NULL, 406, 409),
    ("/artifacts", "get"): shows(many(ARTIFACT), 404),
    ("/artifacts", "post"): starts(ARTIFACT, 404, 507),
    ("/artifacts", "delete"): shows(many(TEXT), 404),
    ("/artifacts/upload/{name}", "post"): starts(ARTIFACT, 406, 507),
    (ART, "get"): shows(ARTIFACT),
    (ART, "delete"): starts(ARTIFACT, 409),
    (f"{ART}/versions", "get"): shows(many(ref("Version"))),
    (f"{ART}/versions", "post"): starts(NULL),
    (f"{ART}/versions/{{index}}", "delete"): starts(ARTIFACT),
    (f"{ART}/grants", "get"): shows(many(ref("Grant"))),
    (f"{ART}/grants", "post"): shows(many(ref("Grant"))),
    (f"{ART}/grants/{{namespace}}", "delete"): shows(many(ref("Grant"))),
    (f"{ART}/share", "post"): shows(ARTIFACT),
    (f"{ART}/unshare", "post"): shows(ARTIFACT),
    ("/labels", "get"): shows(many(ARTIFACT)),
    ("/label/{name}", "get"): shows(ARTIFACT),
    ("/label/{name}", "post"): starts(ARTIFACT, 406, 507),
    ("/label/{name}", "delete"): starts(ARTIFACT, 409),
    ("/images", "get"): shows(many(ref("Image"))),
    ("/upload", "post"): shows(ref("Upload"), 507),
    ("/upload/{ref}", "get"): shows(ref("Upload")),
    ("/upload/{ref}", "post"): shows(WHOLE, 409, 507),
    ("/upload/{ref}/truncate/{offset}", "post"): shows(NULL, 409),
    ("/blobs", "get"): shows(many(BLOB), 404),
    ("/blobs/{ref}", "get"): shows(BLOB),
    ("/blobs/{ref}/data", "get"): Answer(BYTES, 200, (406,), media=OCTETS),
    ("/blobs/{ref}/checksum/{algorithm}", "get"): shows(maybe(TEXT)),
    ("/blob_checksums/{algorithm}/{checksum}", "get"): shows(maybe(BLOB)),
    ("/nodes", "get"): shows(many(NODE)),
    ("/nodes/{ref}", "get"): shows(NODE),
    ("/nodes/{ref}/processmetrics", "get"): shows(mapping(NUMBER)),
    ("/nodes/{ref}", "delete"): starts(NODE, 409),
    ("/nodes/{ref}/cordon", "post"): shows(NODE),
    ("/nodes/{ref}/clear-error", "post"): shows(NODE, 409),
    ("/nodes/{ref}/drain", "post"): accepts(NODE, 409),
    (f"{INST}/rebuild", "post"): accepts(INSTANCE, 406, 409, 507),
    (f"{INST}/migrate", "post"): accepts(INSTANCE, 406, 409, 507),
    ("/nodes/{ref}/uncordon", "post"): shows(NODE),
    ("/admin/resources", "get"): shows(ref("Resources")),
    ("/admin/reservations", "get"): shows(many(ref("Reservation"))),
    ("/admin/locks", "get"): shows(mapping(ref("HeldKey"))),
    ("/admin/cacert", "get"): Answer(TEXT, 200, (404,), media="text/plain"),
    ("/admin/vditokenpubkey", "get"): Answer(TEXT, 200, (404,), media="text/plain"),
    ("/operations", "get"): shows(many(OPERATION), 404),
    (OPER, "get"): shows(ref("OperationInFull")),
    (OPER, "delete"): Answer(OPERATION, 202, (409,)),
    (f"{OPER}/why", "get"): shows(ref("Why")),
    (f"{OPER}/cancel", "post"): Answer(OPERATION, 202, (409,)),
    ("/recurring_operations", "get"): shows(many(SCHEDULE), 404),
    ("/recurring_operations", "post"): shows(SCHEDULE, 404, 507),
    (RECURRING, "get"): shows(SCHEDULE),
    (RECURRING, "patch"): shows(SCHEDULE),
    (RECURRING, "delete"): shows(NULL),
    (f"{RECURRING}/pause", "post"): shows(SCHEDULE),
    (f"{RECURRING}/resume", "post"): shows(SCHEDULE),
    (f"{RECURRING}/trigger", "post"): accepts(ref("Tick"), 406, 507),
    (f"{RECURRING}/ticks", "get"): shows(many(ref("Tick"))),
    ("/clusteroperations", "get"): shows(many(CLUSTER), 404),
    ("/clusteroperations/{ref}/chain", "get"): shows(many(CLUSTER)),
    ("/clusteroperations/{op_type}/{ref}", "get"): shows(CLUSTER),
    ("/clusteroperations/{op_type}/{ref}", "delete"): Answer(CLUSTER, 202, (409,)),
    **dict(_alike()),
}
UNSAID = Answer(ANYTHING)
"""For an address that has no line; a test finds it."""


def refusals(answer: Answer, path: str, *, creates: bool) -> list[int]:
    """Every status other than success that can occur."""
    found = {400, 503, *answer.refusals}
    found |= set() if answer.public else {401, 403}
    found |= {404} if "{" in path else set()
    found |= {409} if creates else set()
    return sorted(found)

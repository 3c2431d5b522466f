"""A node's coming, silence and return (EN-12): which journal of it is accepted, and when it counts as missing."""

import uuid
from collections.abc import Callable, Collection, Mapping

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from sfweb.domain import events, notices
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict
from sfweb.models import Blob, BlobHash, BlobLocation, CarrierLease, Instance, Node, NodeCredential, NodeObject, Wanted
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import State, transition

HERE = (State.CREATED, State.ERROR)
"""One in error takes nothing new, and goes on with what it has."""
LOST = "node lost its disk"
DEAD = "node was declared dead"


@durable
def arrive(node: Node, incarnation: str, actions: dict[str, object], skew: float) -> bool:
    """A report has arrived. Returns whether the node's journal is the accepted one; a first enrolment accepts by itself."""
    Node.objects.filter(pk=node.pk).update(last_seen=UtcNow(), clock_skew=skew, actions=actions)
    credential: NodeCredential = node.credential
    if credential.incarnation is None:
        NodeCredential.objects.filter(pk=node.pk).update(incarnation=incarnation, seen_incarnation=incarnation)
        credential.incarnation = credential.seen_incarnation = incarnation
    if credential.seen_incarnation != incarnation:
        NodeCredential.objects.filter(pk=node.pk).update(seen_incarnation=incarnation)
        credential.seen_incarnation = incarnation
        if incarnation != credential.incarnation:
            _lost_its_disk(node)
    accepted = incarnation == credential.incarnation
    if accepted and node.state in (State.INITIAL, State.MISSING) and not _residues(node).exists():
        message = Node.objects.values_list("error_message", flat=True).get(pk=node.pk)
        transition(node, State.ERROR if message else State.CREATED)
        events.record("health", "node is here", [("node", node.pk)])
    return bool(accepted)


def _residues(node: Node) -> QuerySet[NodeObject]:
    """What the node may still hold although nobody wants it there: first of all it takes this away (EN-12)."""
    absent = NodeObject.objects.filter(node=node, wanted=Wanted.ABSENT)
    return absent.filter(Q(applied_wanted__isnull=True) | ~Q(applied_wanted=Wanted.ABSENT))


def _lost_its_disk(node: Node) -> None:
    """Another journal than the accepted one: nothing is sent, nothing is deleted, an operator decides."""
    lost = Instance.objects.filter(node=node, state=State.CREATED)
    targets = [("instance", pk) for pk in lost.values_list("pk", flat=True)]
    for instance in lost:
        transition(instance, State.ERROR, error_message=LOST)
    events.record(
        "health", "node came back with another journal: accept it or declare it dead", [("node", node.pk), *targets]
    )


@durable
def accept(node: Node) -> None:
    """An operator accepts the journal that the node reports now: everything on it counts as unconfirmed.

    Instances stay in error until two inventories have shown their disks (`found_again`); nothing makes new disks for them.
    """
    credential = NodeCredential.objects.select_for_update().get(node=node)
    if credential.seen_incarnation == credential.incarnation:
        raise Conflict(f"node {node.name} reports the journal that is accepted already", code="node.accepted")
    NodeCredential.objects.filter(pk=node.pk).update(incarnation=credential.seen_incarnation)
    rows = NodeObject.objects.filter(node=node)
    rows.update(applied_generation=0, applied_wanted=None, absences=0, seq=0)
    lost = Instance.objects.filter(node=node, state=State.ERROR, error_message=LOST).values("pk")
    rows.filter(object_type="instance", object_uuid__in=lost).update(error=LOST)
    events.record("audit", "journal accepted by an operator", [("node", node.pk)])


def found_again(row: NodeObject, power: str) -> None:
    """An inventory after `accept` shows the disks of an instance that was thought lost; at the second it leaves its error."""
    NodeObject.objects.filter(pk=row.pk).update(absences=F("absences") + 1)
    if row.absences + 1 < 2:
        return
    NodeObject.objects.filter(pk=row.pk).update(error=None, absences=0)
    instance = Instance.objects.filter(pk=row.object_uuid, state=State.ERROR, error_message=LOST).first()
    if instance is not None:
        transition(instance, State.CREATED, error_message=None, observed_power=power, power_observed_at=UtcNow())


@durable
def declare_dead(node: Node) -> dict[str, int]:
    """Give up all that the node held: residues are free again, its living instances are in error. It is deleted."""
    transition(node, State.DELETED, deleted_at=UtcNow())
    NodeObject.objects.filter(node=node).delete()
    BlobLocation.objects.filter(node=node).delete()
    BlobHash.objects.filter(node=node).delete()
    living = list(Instance.objects.filter(node=node, state__in=(State.INITIAL, State.CREATING, State.CREATED)))
    for instance in living:
        transition(instance, State.ERROR, error_message=DEAD)
    gone = Instance.objects.filter(node=node, state=State.DELETED)
    events.record(
        "audit", "declared dead by an operator", [("node", node.pk), *[("instance", row.pk) for row in living]]
    )
    return {"instances in error": len(living), "residues": gone.count()}


def come_back(node: Node) -> None:
    """A node that was given up returns; part of a transaction. It is missing until it has taken away the instances that it
    last had; copies of blobs that are still needed count again once it has shown them.

    Raises Conflict while instances are still its own: they have to be rebuilt elsewhere or deleted, for that takes them away.
    """
    own = Instance.objects.filter(node=node).exclude(state=State.DELETED).order_by("name")
    if own.exists():
        names = ", ".join(own.values_list("name", flat=True)[:20])
        raise Conflict(f"rebuild or delete what was on node {node.name} first: {names}", code="node.in_use")
    transition(node, State.MISSING, deleted_at=None, error_message=None)
    seen: dict[str, set[uuid.UUID]] = {"instance": set(), "blob": set()}
    for item in (node.inventory or {}).get("objects", ()):
        if item["object_type"] in seen:
            seen[item["object_type"]].add(uuid.UUID(item["object_uuid"]))
    for identity in Instance.objects.filter(pk__in=seen["instance"]).values_list("pk", flat=True):
        expect(node.pk, "instance", identity, Wanted.ABSENT)
    for identity, state in Blob.objects.filter(pk__in=seen["blob"]).values_list("pk", "state"):
        expect(node.pk, "blob", identity, Wanted.PRESENT if state == State.CREATED else Wanted.ABSENT)
    events.record("audit", "a node that was given up returns", [("node", node.pk)])


def expect(node: uuid.UUID, object_type: str, object_uuid: uuid.UUID, wanted: str) -> None:
    """What a node that was given up is to do about an object that it may have, should it ever return."""
    NodeObject.objects.update_or_create(
        node_id=node,
        object_type=object_type,
        object_uuid=object_uuid,
        defaults={"wanted": wanted, "applied_wanted": None, "error": None, "confirmed_at": UtcNow()},
    )


def take_storage(node: Node, failed: Mapping[str, str]) -> None:
    """What the node says of its storage; part of a transaction. The first failure puts it in error, and only an operator
    takes it out again: a disk that failed once is not believed (NH-1).
    """
    if not failed or node.state not in (State.CREATED, State.MISSING) or node.error_message:
        return
    message = "; ".join(f"storage of {part}: {reason}" for part, reason in sorted(failed.items()))[:1000]
    row = Node.objects.select_for_update().get(pk=node.pk)
    if row.state == State.CREATED:
        transition(row, State.ERROR, error_message=message)
    else:
        Node.objects.filter(pk=row.pk).update(error_message=message)
    hit = _radius(row)
    events.record("health", "node is in error: its storage failed", [("node", row.pk)], extra={"why": message, **hit})
    guests = [("instance", uuid.UUID(identity)) for identity in hit["instances"]]
    if guests:
        events.record("health", f"the storage of node {row.name}, which it is on, failed its probe", guests)


@durable
def clear_error(node: Node, by: str) -> None:
    """Place on the node again. Raises Conflict where nothing is to be cleared, or its newest word is that it still fails."""
    row = Node.objects.select_for_update().get(pk=node.pk)
    if not row.error_message:
        raise Conflict(f"node {row.name} is {row.state}, without an error", code="node.no_error")
    failed = row.facts.get("storage")
    if isinstance(failed, dict) and failed:
        raise Conflict(
            f"node {row.name} still says that its storage fails: {', '.join(sorted(failed))}", code="node.storage"
        )
    if row.state == State.ERROR:
        transition(row, State.CREATED, error_message=None)
    else:
        Node.objects.filter(pk=row.pk).update(error_message=None)
    events.record("audit", f"error cleared by {by}", [("node", row.pk)])


def mark_missing(listen: Callable[[], None]) -> list[str]:
    """Nodes that have not reported for two minutes become missing; their names.

    When nobody at all has reported, it is the control plane that was away (its database restarted, its listeners were
    down), and every agent tries again within seconds: `listen` lets them, before silence counts.
    """
    if _silent().exists() and not Node.objects.filter(state__in=HERE).exclude(pk__in=_silent().values("pk")).exists():
        listen()
    return [node.name for node in _silent() if _mark_missing(node)]


def _silent() -> QuerySet[Node]:
    return Node.objects.filter(state__in=HERE, last_seen__lt=FromNow(-settings.NODE_MISSING_SECONDS))


@durable
def _mark_missing(node: Node) -> bool:
    """False when it has reported, or was deleted, in this moment."""
    row = _silent().select_for_update().filter(pk=node.pk).first()
    if row is None:
        return False
    transition(row, State.MISSING)
    hit = _radius(row)
    events.record("health", "node is missing", [("node", row.pk)], extra=hit)
    sentence = f"node {row.name} is missing, with {len(hit['instances'])} instances and {len(hit['networks'])} networks"
    notices.tell("node.missing", f"node:{row.name}", sentence, **hit)
    guests = [("instance", uuid.UUID(identity)) for identity in hit["instances"]]
    if guests:
        # Without the others: their owners read this one.
        events.record("health", f"node {row.name}, which it is on, is missing", guests)
    return True


def _radius(node: Node) -> dict[str, list[str]]:
    """What goes without the node: its instances, the networks that it carries, blobs that nobody else has (EV-18)."""
    elsewhere = BlobLocation.objects.filter(blob=OuterRef("blob"), node__state=State.CREATED).exclude(node=node)
    found = {
        "instances": Instance.objects.filter(node=node).exclude(state=State.DELETED).values_list("pk", flat=True),
        "networks": CarrierLease.objects.filter(node=node).values_list("network_id", flat=True),
        "blobs": BlobLocation.objects.filter(~Exists(elsewhere), node=node).values_list("blob_id", flat=True),
    }
    return {kind: sorted(str(identity) for identity in identities) for kind, identities in found.items()}


def beyond_reach() -> QuerySet[Node]:
    """Nodes that no operation waits for: deleted, or missing and not back yet with the journal that is accepted (EN-12)."""
    silent = Q(last_seen__isnull=True) | Q(last_seen__lt=FromNow(-settings.NODE_SILENT_SECONDS))
    known = Q(credential__seen_incarnation=F("credential__incarnation"))
    return Node.objects.filter(Q(state=State.DELETED) | Q(state=State.MISSING) & (silent | ~known))


def held_among(node: Node, objects: Collection[events.Target]) -> set[events.Target]:
    """Which of the objects the node has, or had and may still hold, something of."""
    rows = NodeObject.objects.filter(node=node, object_uuid__among=[identity for _, identity in objects])
    return set(rows.values_list("object_type", "object_uuid")).intersection(objects)


def raise_absences(row: NodeObject) -> int:
    """Another complete inventory did not have the object; how many in a row."""
    NodeObject.objects.filter(pk=row.pk).update(absences=F("absences") + 1)
    return row.absences + 1

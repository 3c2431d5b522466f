"""What a node should hold, as rows (EN-1). Operations write wishes here; the engine sends what differs from what is applied."""

from collections.abc import Mapping
from uuid import UUID

from django.db.models import Case, F, PositiveBigIntegerField, Q, QuerySet, When

from sftasks.operation import PlannedStep, served
from sfweb.domain.rows import insert, insert_unless_taken
from sfweb.models import NodeObject, Step, Wanted
from sfweb.models.fields import UtcNow
from sfweb.models.state import State

FOR_EVER = 2**52
"""The generation of the end of an object that has no row: nothing about it can be newer."""


def want(node: UUID, object_type: str, object_uuid: UUID) -> bool:
    """The node should hold the object. True when it was not wanted there before. Under the lock of the object's row.

    What it confirmed of the absence before says nothing any more: from now on it may be told to make the object.
    """
    key = {"node_id": node, "object_type": object_type, "object_uuid": object_uuid}
    rows = NodeObject.objects.filter(**key)
    known = list(rows.values_list("wanted", flat=True))
    if known == [Wanted.PRESENT]:
        return False
    if not known and insert_unless_taken(NodeObject(**key)):
        return True
    gone = rows.filter(wanted=Wanted.ABSENT)
    return gone.update(wanted=Wanted.PRESENT, applied_wanted=None, error=None) == 1


def want_new(object_type: str, wanted: Mapping[UUID, UUID]) -> None:
    """Nodes should hold objects that did not exist before this transaction: {object: node}."""
    insert(
        [
            NodeObject(node_id=node, object_type=object_type, object_uuid=object_uuid)
            for object_uuid, node in wanted.items()
        ]
    )


def retract(node: UUID, object_type: str, object_uuid: UUID) -> bool:
    """The node should no longer hold the object. True when that is news to it. Under the lock of the object's row.

    What no step was ever sent for is forgotten at once: there is nothing on the node to take away (EN-14). Steps go with
    their operations after a week, so what the node once confirmed or failed counts as well.
    """
    rows = NodeObject.objects.filter(node_id=node, object_type=object_type, object_uuid=object_uuid)
    touched = Step.objects.filter(
        node_id=node, object_type=object_type, object_uuid=object_uuid, first_sent_at__isnull=False
    ).exists()
    if not touched and not rows.filter(Q(confirmed_at__isnull=False) | Q(error__isnull=False)).exists():
        rows.delete()
        return False
    return rows.filter(wanted=Wanted.PRESENT).update(wanted=Wanted.ABSENT, error=None) == 1


def wanted_action(node: UUID, object_type: str, object_uuid: UUID) -> str:
    """What brings the node to its wish for the object as it stands now; without a wish, the object's removal."""
    rows = NodeObject.objects.filter(node_id=node, object_type=object_type, object_uuid=object_uuid)
    wanted: str = next(iter(rows.values_list("wanted", flat=True)), Wanted.ABSENT)
    return served()[object_type].action(wanted)


def step_for(node: UUID, object_type: str, object_uuid: UUID) -> PlannedStep:
    """The step that `wanted_action` names."""
    action = wanted_action(node, object_type, object_uuid)
    return PlannedStep(node=node, action=action, object_type=object_type, object_uuid=object_uuid)


def forget_confirmation(node: UUID, object_type: str, object_uuid: UUID) -> None:
    """The node does not hold it as confirmed after all: a message is needed again (EN-13)."""
    NodeObject.objects.filter(node_id=node, object_type=object_type, object_uuid=object_uuid).update(
        applied_generation=0, applied_wanted=None, absences=0, confirmed_at=UtcNow()
    )


def with_newest(rows: QuerySet[NodeObject]) -> QuerySet[NodeObject]:
    """The rows, each with its object's generation as `newest`, in one statement; null where the object is no more."""
    cases = [When(object_type=kind.type, then=kind.newest) for kind in served().values()]
    return rows.annotate(newest=Case(*cases, output_field=PositiveBigIntegerField()))


def differing(rows: QuerySet[NodeObject]) -> QuerySet[NodeObject]:
    """Those of which the node has not confirmed the newest wish: exactly these need a message (EN-1)."""
    here, gone = Q(wanted=Wanted.PRESENT), Q(wanted=Wanted.ABSENT)
    unconfirmed = Q(applied_wanted__isnull=True) | ~Q(applied_wanted=F("wanted"))
    return with_newest(rows).filter(gone & unconfirmed | here & (unconfirmed | Q(applied_generation__lt=F("newest"))))


def is_applied(node: UUID, object_type: str, object_uuid: UUID, generation: int) -> bool:
    """True when the node has confirmed the object as present at `generation` or later."""
    return NodeObject.objects.filter(
        node_id=node,
        object_type=object_type,
        object_uuid=object_uuid,
        wanted=Wanted.PRESENT,
        applied_wanted=Wanted.PRESENT,
        applied_generation__gte=generation,
    ).exists()


def not_gone(rows: QuerySet[NodeObject]) -> QuerySet[NodeObject]:
    """Those that the node should hold, or has not confirmed that it does not."""
    return rows.exclude(wanted=Wanted.ABSENT, applied_wanted=Wanted.ABSENT)


def may_hold(object_type: str, object_uuid: UUID) -> QuerySet[NodeObject]:
    """The object on the nodes where it is `not_gone`, without those that were given up."""
    rows = NodeObject.objects.filter(object_type=object_type, object_uuid=object_uuid)
    return not_gone(rows).exclude(node__state=State.DELETED)


def lingering(object_type: str, object_uuid: UUID) -> list[UUID]:
    """The nodes that should no longer hold the object and have not confirmed that, in a fixed order (EN-12).

    Not those that were given up: what they may have keeps nothing taken.
    """
    rows = may_hold(object_type, object_uuid).filter(wanted=Wanted.ABSENT)
    return list(rows.order_by("node_id").values_list("node_id", flat=True))


def holders(object_type: str, object_uuid: UUID) -> list[UUID]:
    """The nodes that should hold the object, in a fixed order."""
    rows = NodeObject.objects.filter(object_type=object_type, object_uuid=object_uuid, wanted=Wanted.PRESENT)
    return list(rows.order_by("node_id").values_list("node_id", flat=True))

"""A guest's screen: who may open it, the file that a viewer is started with, and pictures of it (SE-11, SE-15)."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from sfweb.domain import blob_copies
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Forbidden, NotReady
from sfweb.models import Blob, Instance, Node, NodeObject, Operation, Screenshot, Wanted
from sfweb.models.fields import UtcNow
from sfweb.models.state import OPEN_OPERATION, State, transition

PASSWORD_SECONDS = 300
KEPT_PER_INSTANCE = 10


def require_screen(instance: Instance) -> Node:
    """The node whose guest it is. Raises NotReady for an instance that is not created, Conflict for one that is off."""
    if instance.state != State.CREATED or instance.node is None:
        raise NotReady(f"instance {instance.name} is {instance.state}")
    if instance.power == "off":
        raise Conflict(f"instance {instance.name} is off", code="instance.power")
    return instance.node


def require_direct() -> None:
    """Raises Forbidden where the operator keeps viewers away from the nodes."""
    if not settings.VDI_DIRECT:
        raise Forbidden("viewers may not connect to the nodes of this cluster (VDI_DIRECT=0)", code="vdi.off")


def viewer_file(instance: Instance, access: Mapping[str, Any]) -> str:
    """What `remote-viewer` is started with; it removes the file itself."""
    lines = {
        "type": access["protocol"],
        "host": access["address"],
        "port": access["port"],
        "password": access["password"],
        "title": f"{instance.name} ({instance.namespace.name})",
        "delete-this-file": 1,
    }
    return "".join(["[virt-viewer]\n", *(f"{name}={value}\n" for name, value in lines.items())])


@durable
def begin_picture(instance: Instance, node: Node) -> Blob:
    """A blob that the node is about to make. Until it has, nobody wants it there: whatever dies now, it is cleared away."""
    blob = Blob.objects.create()
    NodeObject.objects.create(
        node=node, object_type="blob", object_uuid=blob.pk, wanted=Wanted.ABSENT, generation=1, confirmed_at=UtcNow()
    )
    Screenshot.objects.create(blob=blob, instance=instance)
    return blob


@durable
def keep_picture(blob: Blob, node: Node, facts: Mapping[str, Any]) -> list[uuid.UUID]:
    """The node has made it. Returns the older pictures of the instance that are too many now.

    Raises Conflict when it took so long that it has been cleared away already.
    """
    wish = NodeObject.objects.filter(node=node, object_type="blob", object_uuid=blob.pk, wanted=Wanted.ABSENT)
    clearing = Operation.objects.filter(object_key=f"blob:{blob.pk}@{node.pk}", state__in=OPEN_OPERATION)
    kept = {"wanted": Wanted.PRESENT, "applied_wanted": Wanted.PRESENT, "applied_generation": 1}
    if clearing.exists() or not wish.filter(applied_wanted__isnull=True).update(**kept, confirmed_at=UtcNow()):
        raise Conflict("the picture took too long: ask again", code="screenshot.late")
    columns = {name: facts[name] for name in ("size", "sha512", "format", "virtual_size")}
    transition(blob, State.CREATED, fetched_at=UtcNow(), **columns)
    blob_copies.remember(blob, node.pk, facts)
    instance = Screenshot.objects.get(blob=blob).instance_id
    older = Screenshot.objects.filter(instance=instance).order_by("-created_at").values_list("pk", flat=True)
    return list(older[KEPT_PER_INSTANCE:])

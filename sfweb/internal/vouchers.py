"""What a node may fetch for a step that it works on: the step's secrets (SE-3) and tickets to read from peers (SE-5)."""

import base64
import uuid
from typing import Any

from django.db.models import Q

from sfweb.domain.lookup import as_uuid
from sfweb.errors import NotFound
from sfweb.models import Blob, BlobLocation, Instance, Metadata, Node, Step
from sfweb.models.state import StepState
from sfweb.node_bytes import make_ticket


def step_secrets(node: Node, token: uuid.UUID) -> dict[str, Any]:
    """The config drive of the instance that the node's open step is about; the fields of `nodeagent.specs.ConfigDrive`."""
    step = _open_step(node, str(token))
    if step.object_type != "instance":
        raise NotFound("this step has no secrets")
    instance = Instance.objects.select_related("namespace").get(pk=step.object_uuid)
    rows = Metadata.objects.filter(object_type="instance", object_uuid=instance.pk).order_by("key")
    return {
        "hostname": instance.name,
        "ssh_key": instance.ssh_key,
        "user_data": base64.b64decode(instance.user_data).decode(errors="replace") if instance.user_data else None,
        "metadata": dict(rows.values_list("key", "value")),
    }


def blob_ticket(node: Node, token: str, blob: str, peer: str) -> dict[str, Any]:
    """URL and ticket to read `blob` from `peer`, for a step of this node about this blob or a part of it (SE-4)."""
    step = _open_step(node, token)
    about = Blob.objects.filter(pk=step.object_uuid) if step.object_type == "blob" else Blob.objects.none()
    if not about.filter(Q(pk=as_uuid(blob)) | Q(archive=as_uuid(blob))).exists():
        raise NotFound("this step is not about that blob")
    holder = Node.objects.select_related("credential").filter(pk=as_uuid(peer)).first()
    if holder is None or not BlobLocation.objects.filter(blob_id=blob, node=holder).exists():
        raise NotFound("that node does not hold the blob")
    url = f"http://{holder.mesh_address}:{holder.byte_port}/blobs/{blob}"
    return {"url": url, "ticket": make_ticket(holder, "read_blob", uuid.UUID(blob))}


def instance_ticket(node: Node, token: str, instance: str, peer: str) -> dict[str, Any]:
    """URL and ticket to read the files of an instance from `peer`, where it is, for a step of this node that receives it."""
    step = _open_step(node, token)
    if step.action != "receive_instance" or step.object_uuid != as_uuid(instance):
        raise NotFound("this step does not receive that instance")
    row = Instance.objects.select_related("node__credential").get(pk=step.object_uuid)
    if row.node is None or row.node_id != as_uuid(peer):
        raise NotFound("the instance is not on that node")
    url = f"http://{row.node.mesh_address}:{row.node.byte_port}/instances/{row.pk}"
    return {"url": url, "ticket": make_ticket(row.node, "read_instance", row.pk)}


def _open_step(node: Node, token: str) -> Step:
    step = Step.objects.filter(node=node, token=token, state=StepState.SENT).first()
    if step is None:
        raise NotFound("no open step of this node has that token")
    return step

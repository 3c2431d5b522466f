"""What a node may fetch for a step that it works on: the step's secrets (SE-3) and tickets to read from peers (SE-5)."""

import time
import uuid
from typing import Any

from nodeagent.wire import ticket
from sfweb.domain.lookup import as_uuid
from sfweb.errors import NotFound
from sfweb.models import BlobLocation, Instance, Metadata, Node, NodeCredential, Step
from sfweb.models.state import StepState

TICKET_SECONDS = 600


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
        "user_data": instance.user_data,
        "metadata": dict(rows.values_list("key", "value")),
    }


def blob_ticket(node: Node, token: str, blob: str, peer: str) -> dict[str, Any]:
    """URL and ticket to read `blob` from `peer`, for a step of this node about this blob (SE-4)."""
    step = _open_step(node, token)
    if step.object_type != "blob" or str(step.object_uuid) != blob:
        raise NotFound("this step is not about that blob")
    holder = Node.objects.filter(pk=as_uuid(peer)).first()
    if holder is None or not BlobLocation.objects.filter(blob_id=blob, node=holder).exists():
        raise NotFound("that node does not hold the blob")
    return reading_ticket(holder, f"blobs/{blob}", str(node.pk))


def reading_ticket(holder: Node, path: str, reader: str, verb: str = "read") -> dict[str, Any]:
    """A short-lived ticket for one object on the holder's byte server, signed with the holder's key."""
    key = NodeCredential.objects.values_list("signing_key", flat=True).get(node=holder)
    kind, _, identity = path.partition("/")
    claims = {"object": f"{kind}/{identity}", "verb": verb, "reader": reader, "exp": time.time() + TICKET_SECONDS}
    url = f"http://{holder.mesh_address}:{holder.byte_port}/{path}"
    return {"url": url, "ticket": ticket(key, claims)}


def _open_step(node: Node, token: str) -> Step:
    step = Step.objects.filter(node=node, token=token, state=StepState.SENT).first()
    if step is None:
        raise NotFound("no open step of this node has that token")
    return step

"""Keeps every blob that something is made of on as many nodes as it should be: after a failed verification, and after a
node fell silent or was deleted, a new copy is made of one that is left.
"""

from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet

from sftasks import attachment
from sftasks.passes import one_of_many
from sfweb.domain import artifact_refs, storage
from sfweb.domain.callers import CLUSTER
from sfweb.domain.transactions import durable
from sfweb.models import Blob, BlobLocation, Operation
from sfweb.models.fields import FromNow
from sfweb.models.state import OPEN_OPERATION, State

PAGE = 100
AGAIN_SECONDS = 600.0
"""Between two attempts to bring one blob to one node."""


def run() -> dict[str, int]:
    """Bounded to a page of blobs a pass. `wanted` copies of each is what the setting and the number of nodes allow."""
    nodes = [node.pk for node in storage.roomy_nodes()]
    wanted = min(settings.BLOB_COPIES, len(nodes))
    begun = short = 0
    for blob in list(_lacking(wanted)) if wanted else []:
        short += 1
        begun += one_of_many(partial(_mend, blob.pk, nodes, wanted), "a blob cannot be copied", blob=str(blob.pk))
    return {"wanted": wanted, "short": short, "begun": begun}


def _lacking(wanted: int) -> QuerySet[Blob]:
    here = Count("locations", filter=Q(locations__node__in=storage.reporting_nodes()), distinct=True)
    rows = Blob.objects.filter(artifact_refs.is_made_into(), state=State.CREATED).annotate(here=here)
    can = Q(here__gt=0) | Q(source_url__startswith="http")
    return rows.filter(can, here__lt=wanted).order_by("?")[:PAGE]  # what cannot be mended keeps no other out for ever


@durable
def _mend(identity: UUID, nodes: list[UUID], wanted: int) -> int:
    blob = Blob.objects.select_for_update().get(pk=identity)
    if blob.state != State.CREATED or not artifact_refs.is_referenced(identity):
        return 0
    living = storage.reporting_nodes()
    holders = set(BlobLocation.objects.filter(blob=blob, node__in=living).values_list("node_id", flat=True))
    keys = {f"blob:{identity}@{node}": node for node in nodes if node not in holders}
    rows = Operation.objects.filter(object_key__in=list(keys))
    coming = set(rows.filter(state__in=OPEN_OPERATION).values_list("object_key", flat=True))
    lately = rows.filter(finished_at__gt=FromNow(-AGAIN_SECONDS * settings.TIME_SCALE), state="failed")
    failed = set(lately.values_list("object_key", flat=True))
    free = [node for key, node in keys.items() if key not in coming | failed]
    chosen = free[: max(0, wanted - len(holders) - len(coming))]
    return sum(attachment.bring_blob(blob, node, CLUSTER) is not None for node in chosen)

"""Does what was put off so that more could join it (EN-20). Every two seconds.

News of a network for the nodes that hold it, and operations that wait for nothing but their time. What a pass leaves is
left for the next one, and in the end for `node_objects` and the sweep.
"""

from functools import partial
from uuid import UUID

from sftasks import mesh, sweep
from sftasks.passes import one_of_many
from sfweb.domain.transactions import durable
from sfweb.models import Network, Operation
from sfweb.models.fields import UtcNow
from sfweb.models.state import OperationState

PAGE = 200


def run() -> dict[str, int]:
    networks = Network.objects.filter(peers_due_at__lte=UtcNow()).order_by("peers_due_at")
    told = sum(
        one_of_many(partial(_tell, pk), "peers cannot be told", network=str(pk))
        for pk in list(networks.values_list("pk", flat=True)[:PAGE])
    )
    rows = Operation.objects.filter(state=OperationState.WAITING, not_before__lte=UtcNow())
    due = sweep.unhindered(rows).order_by("not_before").values_list("pk", flat=True)[:PAGE]
    started = sum(one_of_many(partial(sweep.start, pk), "cannot be started", operation=str(pk)) for pk in list(due))
    return {"told": told, "started": started}


@durable
def _tell(pk: UUID) -> int:
    return mesh.tell_peers(Network.objects.select_for_update().get(pk=pk))

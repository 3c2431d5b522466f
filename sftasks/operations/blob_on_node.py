"""One copy of a blob on one node: fetched, copied or taken away, as the wish says (EN-20).

The first node that has it makes the blob; a later failure marks only that node's copy.
"""

from collections.abc import Sequence
from uuid import UUID

from nodeagent.wire import Outcome
from sftasks import attachment, moves, wishes
from sftasks.operation import Ended, Kind, Stage
from sfweb.domain import blob_copies
from sfweb.models import Artifact, ArtifactVersion, Blob, Operation, Step
from sfweb.models.state import State, StepState, transition


def stages(operation: Operation) -> Sequence[Stage]:
    node, blob = UUID(operation.params["node"]), UUID(operation.params["blob"])
    return [[wishes.step_for(node, "blob", blob)]]


def finish(operation: Operation, ended: Ended) -> None:
    blob = Blob.objects.select_for_update().get(pk=operation.params["blob"])
    node = UUID(operation.params["node"])
    step = Step.objects.filter(operation=operation, purpose="do").first()
    if ended.ok and step is not None and step.state == StepState.DONE:
        if step.action == "remove_blob":
            blob_copies.forget(blob, node)
        else:
            attachment.blob_arrived(blob, node, (step.outcome or {}).get("result", {}))
    elif not ended.ok and blob.state == State.INITIAL and not blob.locations.exists():
        _failed(blob, ended)


def mend(operation: Operation, step: Step, outcome: Outcome) -> bool:
    """Other content than is listed may be a half published image: it is fetched once more, no more often (FR-1)."""
    source = step.request["request"].get("spec", {}).get("source", {}) if step.request else {}
    return outcome.code == "fetch.checksum" and step.failures == 0 and bool(source.get("url"))


def elsewhere(operation: Operation, node: UUID, code: str, message: str) -> Sequence[Operation] | None:
    """One that waits for the first fetch goes on without it when that failed for a cause of its node's own."""
    blob = Blob.objects.select_for_update().get(pk=operation.params["blob"])
    own = UUID(operation.params["node"])
    if node == own or code not in moves.OF_ONE_NODE or not blob.source_url.startswith("http"):
        return None
    return attachment.fetch_after(blob, own)


def _failed(blob: Blob, ended: Ended) -> None:
    """Nobody has the bytes: the blob is broken, and so is an artifact that has nothing else (AR-5). It is no version."""
    message = f"{ended.code}: {ended.message}" if ended.message else ended.code
    transition(blob, State.ERROR, error_message=message)
    for artifact in Artifact.objects.filter(versions__blob=blob, state=State.INITIAL):
        transition(artifact, State.ERROR, error_message=message)
    ArtifactVersion.objects.filter(blob=blob).delete()
    attachment.drop_blob(blob)


OPERATION = Kind(
    name="blob_on_node",
    stages=stages,
    finish=finish,
    mend=mend,
    elsewhere=elsewhere,
    coalesces=True,
    priority=25,
)

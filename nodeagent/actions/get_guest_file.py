"""Copy a file of a running guest into a new blob on this node, by the guest's agent. A repeated attempt starts at its first byte.

Facts: those of the blob.
"""

import dataclasses
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host, Transfer
from nodeagent.specs import GUEST_REFUSALS, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    """`patience`: seconds within which each piece must move; `ceiling`: bytes that the file may have."""

    instance: str
    blob: str
    path: str
    patience: int
    ceiling: int

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")
        require_uuid(self.blob, "blob")


def run(request: Request, host: Host, call: Call) -> Result:
    present = host.blob(request.blob)
    if present is not None:
        return Result(change="unchanged", facts=dataclasses.asdict(present))
    source = Transfer(path=request.path, patience=request.patience, ceiling=request.ceiling)
    facts = host.read_in_guest(request.instance, request.blob, source, call)
    return Result(change="created", facts=dataclasses.asdict(facts))


ACTION = Action(
    name="get_guest_file",
    version=1,
    request=Request,
    run=run,
    bulk=True,
    max_seconds=86400.0,
    retries=2,
    refusals=GUEST_REFUSALS | {"blob.unsafe", "disk.full", "guest.too_large"},
)

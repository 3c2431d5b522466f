"""Copy a blob of this node into a file of a running guest, by its agent. Repeated, it writes the same file again."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host, Transfer
from nodeagent.specs import GUEST_REFUSALS, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    """`mode`: permission bits, or null to leave them; `patience`: seconds within which each piece must move."""

    instance: str
    blob: str
    path: str
    mode: int | None
    patience: int

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")
        require_uuid(self.blob, "blob")


def run(request: Request, host: Host, call: Call) -> Result:
    target = Transfer(path=request.path, patience=request.patience, mode=request.mode)
    host.write_in_guest(request.instance, request.blob, target, call)
    return Result(change="repaired")


ACTION = Action(
    name="put_guest_file",
    version=1,
    request=Request,
    run=run,
    bulk=True,
    max_seconds=86400.0,
    retries=2,
    refusals=GUEST_REFUSALS,
)

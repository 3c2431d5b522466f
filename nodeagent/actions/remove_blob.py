"""Make one blob's file absent from this node; refused while a disk of this node lies on it."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    blob: str

    def __post_init__(self) -> None:
        require_uuid(self.blob, "blob")


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change=host.remove_blob(request.blob))


ACTION = Action(
    name="remove_blob",
    version=1,
    request=Request,
    run=run,
    bulk=True,
    refusals=frozenset({"blob.in_use"}),
    wanted="absent",
)

"""Make one network absent from this node. Its router, where this node carries it, must be gone before."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import require_uuid, require_vni


@dataclass(frozen=True, kw_only=True)
class Request:
    network: str
    vni: int

    def __post_init__(self) -> None:
        require_uuid(self.network, "network")
        require_vni(self.vni)


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change=host.remove_network(request.network, request.vni))


ACTION = Action(name="remove_network", version=1, request=Request, run=run, wanted="absent")

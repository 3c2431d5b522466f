"""Make one network present on this node: its bridge, its VXLAN device and the flood list to its peers."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class Request:
    spec: NetworkSpec


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change=host.ensure_network(request.spec))


ACTION = Action(name="ensure_network", version=1, request=Request, run=run, refusals=frozenset({"network.vni_taken"}))

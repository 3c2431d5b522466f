"""Make this node carry one network: gateway, DHCP, DNS, SNAT and outside addresses, for as long as its lease runs (EN-11)."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import RouterSpec


@dataclass(frozen=True, kw_only=True)
class Request:
    spec: RouterSpec


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change=host.ensure_router(request.spec))


ACTION = Action(name="ensure_router", version=2, request=Request, run=run, refusals=frozenset({"router.no_egress"}))

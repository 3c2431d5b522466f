"""Send ten echoes from a network's router to one of its addresses, changing nothing (HP-6).

Facts: `stdout` and `stderr`, lists of lines as ping printed them. Loss is an answer, not a failure.
"""

import ipaddress
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import require_uuid, require_vni


@dataclass(frozen=True, kw_only=True)
class Request:
    network: str
    vni: int
    address: str

    def __post_init__(self) -> None:
        require_uuid(self.network, "network")
        require_vni(self.vni)
        ipaddress.IPv4Address(self.address)


def run(request: Request, host: Host, call: Call) -> Result:
    printed, complained = host.ping(request.network, request.vni, request.address)
    return Result(change="unchanged", facts={"stdout": list(printed), "stderr": list(complained)})


ACTION = Action(name="ping_address", version=1, request=Request, run=run, refusals=frozenset({"router.absent"}))

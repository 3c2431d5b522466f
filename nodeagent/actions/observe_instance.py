"""Say what this node has of one instance, changing nothing.

Facts: `power` (on, paused, or off when no domain is there), `digest` of the spec that the domain was started from,
`disks` {device: blob it is an overlay of, or null}, `config_drive`.
"""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import Power, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    instance: str

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")


def run(request: Request, host: Host, call: Call) -> Result:
    domain = host.domain(request.instance)
    return Result(
        change="unchanged",
        facts={
            "power": domain.power if domain else str(Power.OFF),
            "digest": domain.digest if domain else "",
            "disks": dict(host.disks(request.instance)),
            "config_drive": host.has_config_drive(request.instance),
        },
    )


ACTION = Action(name="observe_instance", version=1, request=Request, run=run)

"""Reboot one running instance, once: by asking its guest, or by resetting it when `hard`."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host, Refused
from nodeagent.specs import require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    instance: str
    hard: bool = False

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")


def run(request: Request, host: Host, call: Call) -> Result:
    if host.domain(request.instance) is None:
        raise Refused("instance.off", f"instance {request.instance} does not run")
    host.reboot_domain(request.instance, request.hard)
    return Result(change="repaired")


ACTION = Action(
    name="reboot_instance", version=1, request=Request, run=run, once=True, refusals=frozenset({"instance.off"})
)

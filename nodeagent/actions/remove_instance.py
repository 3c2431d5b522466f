"""Make one instance absent from this node: no domain, no disk, no config drive, no console log."""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    instance: str

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")


def run(request: Request, host: Host, call: Call) -> Result:
    stopped = host.stop_domain(request.instance)
    cleared = host.remove_instance_files(request.instance)
    return Result(change="removed" if "removed" in (stopped, cleared) else "unchanged")


ACTION = Action(name="remove_instance", version=1, request=Request, run=run, max_seconds=300.0, wanted="absent")

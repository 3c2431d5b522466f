"""Start a command inside a guest by its agent, once: an interrupted attempt may have started it, and nobody starts it again.

The fact `pid` is the guest's own number of the process; `collect_guest_command` asks for its end.
"""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import GUEST_REFUSALS, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    instance: str
    command_line: str

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change="created", facts={"pid": host.start_in_guest(request.instance, request.command_line)})


ACTION = Action(
    name="start_guest_command", version=1, request=Request, run=run, once=True, retries=2, refusals=GUEST_REFUSALS
)

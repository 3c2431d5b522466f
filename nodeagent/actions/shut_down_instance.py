"""Let a guest end itself, and wait until it has: it is asked again now and then, and is never cut off."""

import time
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host, Refused
from nodeagent.specs import require_uuid

ASK_SECONDS = 10.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Request:
    """`patience`: seconds after which a guest that still runs counts as not willing to."""

    instance: str
    patience: float

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")


def run(request: Request, host: Host, call: Call) -> Result:
    began = asked = time.monotonic()
    change = "unchanged"
    while host.domain(request.instance) is not None:
        now = time.monotonic()
        if change == "unchanged" or now - asked > ASK_SECONDS:
            host.shut_down_domain(request.instance)
            change, asked = "removed", now
            continue
        if now - began > request.patience:
            raise Refused("guest.stays", f"the guest did not shut down within {request.patience:.0f} s")
        call.progress(0)
        time.sleep(LOOK_SECONDS)
    return Result(change=change)


ACTION = Action(
    name="shut_down_instance",
    version=1,
    request=Request,
    run=run,
    max_seconds=900,
    refusals=frozenset({"cancelled", "guest.stays"}),
)

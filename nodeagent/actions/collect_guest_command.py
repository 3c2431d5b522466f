"""Ask how a command inside a guest ended; while it runs, the step comes again later and keeps no thread meanwhile.

`seconds` is what is left of the command's time: past it the command is killed and the step refused. Facts: `code`,
`stdout` and `stderr` as text, and where there was much of it, `blob` with all of standard output.
"""

import dataclasses
import time
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, CommandResult, Host, Refused, Retry
from nodeagent.specs import GUEST_REFUSALS, require_uuid

INLINE_BYTES = 64 * 2**10
POLL_SECONDS = 0.1
AGAIN_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """`patience`: seconds to wait here for a command that is about to end; `blob`: uuid for output that is long."""

    instance: str
    pid: int
    seconds: float
    patience: float
    blob: str

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")
        require_uuid(self.blob, "blob")


def run(request: Request, host: Host, call: Call) -> Result:
    end = time.monotonic() + min(request.patience, max(request.seconds, 0.0))
    while (result := host.result_in_guest(request.instance, request.pid)) is None:
        if time.monotonic() >= end:
            _put_off(request, host)
        _heed_cancel(request, host, call)
        time.sleep(POLL_SECONDS)
    return Result(change="unchanged", facts=_facts(request, result, host, call))


def _heed_cancel(request: Request, host: Host, call: Call) -> None:
    try:
        call.progress(0)
    except Refused:
        host.kill_in_guest(request.instance, request.pid)
        raise


def _put_off(request: Request, host: Host) -> None:
    """Raises Retry while the command still has time, Refused once it was killed."""
    if request.seconds > request.patience:
        raise Retry("guest.running", f"process {request.pid} runs", after=AGAIN_SECONDS)
    host.kill_in_guest(request.instance, request.pid)
    raise Refused("guest.deadline", "the command did not end in time and was killed")


def _facts(request: Request, result: CommandResult, host: Host, call: Call) -> dict[str, object]:
    facts: dict[str, object] = {
        "code": result.code,
        "stdout": _text(result.stdout),
        "stderr": _text(result.stderr),
        "blob": None,
    }
    if len(result.stdout) > INLINE_BYTES:
        facts["blob"] = dataclasses.asdict(host.keep_blob(request.blob, result.stdout, call))
    return facts


def _text(output: bytes) -> str:
    return output[:INLINE_BYTES].decode(errors="replace")


ACTION = Action(
    name="collect_guest_command",
    version=1,
    request=Request,
    run=run,
    retries=10**6,
    max_seconds=86400.0,
    refusals=GUEST_REFUSALS | {"guest.deadline", "disk.full"},
)

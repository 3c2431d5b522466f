"""Ask a web server whether an image that was fetched before has another version now. Changes nothing.

Transient causes end as Retry with the codes of ensure_blob.
"""

from dataclasses import dataclass, field

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import FETCH_BACKOFF, FETCH_REFUSALS, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    """`blob` is the version that is here, `validators` what the server said when it gave that (etag, last_modified)."""

    blob: str
    url: str
    validators: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_uuid(self.blob, "blob")


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change="unchanged", facts={"changed": host.is_changed(request.url, request.validators)})


ACTION = Action(
    name="observe_image",
    version=1,
    request=Request,
    run=run,
    bulk=True,
    refusals=FETCH_REFUSALS,
    retries=len(FETCH_BACKOFF),
    backoff=FETCH_BACKOFF,
)

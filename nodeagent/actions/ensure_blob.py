"""Make one blob's verified file present on this node, from a URL, from a peer, or from an upload that this node holds.

A blob is immutable: one that is here with other content than the control plane knows is refused, never replaced, for
disks may lie on it, unless the control plane knows this copy to be broken (`renew`). The facts are what the first fetch
teaches. Images of other formats are converted to qcow2; the refusals `image.*` say what is wrong with a hostile one (SE-9).

Transient causes end as Retry, three times (FR-2): fetch.dns, fetch.connect, fetch.timeout, fetch.server (5xx), fetch.busy (429),
fetch.short_body, fetch.peer (no peer holds it just now), upload.incomplete.
"""

import dataclasses
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import BlobFacts, Call, Host, Refused
from nodeagent.specs import FETCH_BACKOFF, FETCH_REFUSALS, BlobSpec, require_uuid

REFUSALS = FETCH_REFUSALS | frozenset(
    {
        "blob.conflict",
        "cancelled",
        "disk.full",
        "fetch.checksum",
        "fetch.size",
        "image.backing_file",
        "image.corrupt",
        "image.data_file",
        "image.encrypted",
        "image.external",
        "image.not_an_image",
        "image.too_large",
        "image.unsupported",
        "upload.missing",
    }
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """`upload` names a finished upload of this node that becomes the blob; without it the bytes come from spec.source.

    upload_size  bytes of it that were acknowledged; what lies behind them was not
    renew        the copy that is here failed its verification: get the bytes again
    """

    spec: BlobSpec
    upload: str | None = None
    upload_size: int = 0
    renew: bool = False

    def __post_init__(self) -> None:
        if self.upload is not None:
            require_uuid(self.upload, "upload")


def run(request: Request, host: Host, call: Call) -> Result:
    spec = request.spec
    present = host.blob(spec.blob)
    if present is not None and not request.renew:
        _require_same(spec, present)
        return Result(change="unchanged", facts=dataclasses.asdict(present))
    if request.upload is not None:
        facts = host.adopt_upload(request.upload, request.upload_size, spec, call)
    else:
        facts = host.fetch_blob(spec, spec.source, call)
    return Result(change="repaired" if present is not None else "created", facts=dataclasses.asdict(facts))


def _require_same(spec: BlobSpec, present: BlobFacts) -> None:
    if spec.sha512 not in (None, present.sha512) or spec.size not in (None, present.size):
        raise Refused("blob.conflict", f"blob {spec.blob} is here with other content")


ACTION = Action(
    name="ensure_blob",
    version=2,
    request=Request,
    run=run,
    bulk=True,
    max_seconds=6 * 3600,
    refusals=REFUSALS,
    retries=len(FETCH_BACKOFF),
    backoff=FETCH_BACKOFF,
)

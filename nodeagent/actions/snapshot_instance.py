"""Capture disks of one instance as blobs, all as they are at one moment. A guest that runs goes on running.

Facts: `blobs` {device: facts of the blob}, and `quiesced` when the guest's agent had its file systems stand still, or the
guest was off.
"""

import dataclasses
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host
from nodeagent.specs import CapturedDisk, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    instance: str
    disks: tuple[CapturedDisk, ...]
    quiesce: bool

    def __post_init__(self) -> None:
        require_uuid(self.instance, "instance")
        if not self.disks:
            raise ValueError("disks: none are named")


def run(request: Request, host: Host, call: Call) -> Result:
    known = all(host.blob(disk.blob) is not None for disk in request.disks)
    taken = host.snapshot_disks(request.instance, request.disks, request.quiesce, call)
    blobs = {device: dataclasses.asdict(facts) for device, facts in taken.blobs.items()}
    return Result(change="unchanged" if known else "created", facts={"blobs": blobs, "quiesced": taken.quiesced})


ACTION = Action(
    name="snapshot_instance",
    version=1,
    request=Request,
    run=run,
    bulk=True,
    max_seconds=6 * 3600,
    refusals=frozenset({"cancelled", "disk.full", "disk.missing"}),
)

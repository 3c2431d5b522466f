"""Prepare this node for an instance that comes from another: its disks, config drive and log. No domain is started.

While the guest runs, its disks are made empty, on the same blobs: what is above those comes with the domain. Of a guest
that is off they are copied whole. What is here already stays as it is: the control plane moves no instance to a node that
may still have something of an earlier stay.
"""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host, Refused, Retry
from nodeagent.specs import InstanceSpec, require_uuid


@dataclass(frozen=True, kw_only=True)
class Request:
    spec: InstanceSpec
    peer: str
    running: bool

    def __post_init__(self) -> None:
        require_uuid(self.peer, "peer")


def run(request: Request, host: Host, call: Call) -> Result:
    spec = request.spec
    before = host.disks(spec.instance)
    if host.domain(spec.instance) is not None:
        raise Refused("instance.here", f"instance {spec.instance} has a domain on this node already")
    for blob in {disk.blob for disk in spec.disks if disk.blob} | ({spec.nvram} if spec.nvram else set()):
        if host.blob(blob) is None:
            raise Retry("blob.missing", f"blob {blob} is not on this node")
    missing = [disk for disk in spec.disks if disk.file not in before]
    if request.running:
        for disk in missing:
            host.create_disk(spec.instance, disk, call)
    copied = host.copy_instance(spec, request.peer, call, disks=not request.running)
    return Result(change="created" if missing or copied != "unchanged" else "unchanged")


ACTION = Action(
    name="receive_instance",
    version=1,
    request=Request,
    run=run,
    bulk=True,
    max_seconds=6 * 3600,
    refusals=frozenset({"cancelled", "disk.conflict", "disk.full", "disk.missing", "instance.here"}),
)

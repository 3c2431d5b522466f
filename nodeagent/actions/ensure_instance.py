"""Make one instance what its spec says: its disks, its config drive, and a domain in the wished power state.

Disks and config drive are created where missing and never replaced. A domain that runs from another spec is left
running; the fact `restart_needed` says so, and the next start uses the new spec.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, DomainState, Host, Refused, Retry
from nodeagent.specs import InstanceSpec, Power
from nodeagent.wire import dump


@dataclass(frozen=True, kw_only=True)
class Request:
    spec: InstanceSpec


def run(request: Request, host: Host, call: Call) -> Result:
    spec, digest = request.spec, spec_digest(request.spec)
    before = dict(host.disks(spec.instance))
    domain = host.domain(spec.instance)
    drive_missing = spec.config_drive and not host.has_config_drive(spec.instance)
    _require_own_disks(spec, before)
    missing = [disk for disk in spec.disks if disk.file not in before]
    if missing or (domain is None and spec.power != Power.OFF):
        _require_blobs(spec, host)

    for disk in missing:
        host.create_disk(spec.instance, disk, call)
    if drive_missing:
        host.write_config_drive(spec, call.config_drive(), call)
    moved = _follow_power_wish(spec, digest, domain, host)
    stale = [file for file in before if file not in {disk.file for disk in spec.disks}]
    for file in stale:
        host.remove_disk(spec.instance, file)

    acted = bool(missing or stale) or drive_missing or moved
    change = "unchanged" if not acted else "repaired" if before or domain else "created"
    stays = domain is not None and spec.power != Power.OFF
    return Result(
        change=change,
        facts={"power": str(spec.power), "restart_needed": bool(stays and domain and domain.digest != digest)},
    )


def spec_digest(spec: InstanceSpec) -> str:
    """What a domain was started from, as hex; the power wish does not count."""
    document = dump(dataclasses.replace(spec, power=Power.ON))
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _require_own_disks(spec: InstanceSpec, present: dict[str, str | None]) -> None:
    for disk in spec.disks:
        if present.get(disk.file) not in (None, disk.blob):
            raise Refused("disk.conflict", f"{disk.file} lies on blob {present[disk.file]}, not on {disk.blob}")


def _require_blobs(spec: InstanceSpec, host: Host) -> None:
    for disk in spec.disks:
        if disk.blob is not None and host.blob(disk.blob) is None:
            raise Retry("blob.missing", f"blob {disk.blob} of {disk.device} is not on this node")


def _follow_power_wish(spec: InstanceSpec, digest: str, domain: DomainState | None, host: Host) -> bool:
    """Start, stop, suspend or resume; true when any was needed."""
    power = domain.power if domain else Power.OFF
    if power == spec.power:
        return False
    if spec.power == Power.OFF:
        host.stop_domain(spec.instance)
    elif domain is None:
        host.start_domain(spec, digest)
    elif spec.power == Power.PAUSED:
        host.suspend_domain(spec.instance)
    else:
        host.resume_domain(spec.instance)
    return True


ACTION = Action(
    name="ensure_instance",
    version=1,
    request=Request,
    run=run,
    max_seconds=300.0,
    refusals=frozenset(
        {"blob.unsafe", "cancelled", "disk.conflict", "disk.full", "instance.unsupported", "port.taken"}
    ),
)

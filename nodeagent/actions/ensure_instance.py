"""Make one instance what its spec says: its disks, its config drive, and a domain in the wished power state.

Disks and config drive are created where missing and never replaced; a disk grows to its spec's size and never shrinks; one
that the spec does not name any more is removed. A running domain gets and loses network cards and disks until it has those
of its spec. What else changed waits for the next start; the fact `restart_needed` says so.
"""

from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, DomainState, Host, Refused, Retry
from nodeagent.specs import DiskSpec, InstanceSpec, Power, disk_device, spec_digest


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
    grown = [disk for disk in spec.disks if _grows(spec.instance, disk, before, host)]
    if drive_missing:
        host.write_config_drive(spec, call.config_drive(), call)
    moved = _plug_and_power(spec, digest, domain, host)
    stale = [file for file in before if file not in {disk.file for disk in spec.disks}]
    for file in stale:
        host.remove_disk(spec.instance, file)

    acted = bool(missing or grown or stale) or drive_missing or moved
    change = "unchanged" if not acted else "repaired" if before or domain else "created"
    stays = domain is not None and spec.power != Power.OFF
    return Result(
        change=change,
        facts={"power": str(spec.power), "restart_needed": bool(stays and domain and domain.digest != digest)},
    )


def _require_own_disks(spec: InstanceSpec, present: dict[str, str | None]) -> None:
    for disk in spec.disks:
        if present.get(disk.file) not in (None, disk.blob):
            raise Refused("disk.conflict", f"{disk.file} lies on blob {present[disk.file]}, not on {disk.blob}")


def _require_blobs(spec: InstanceSpec, host: Host) -> None:
    needed = {disk.device: disk.blob for disk in spec.disks} | {"the firmware's variables": spec.nvram}
    for part, blob in needed.items():
        if blob is not None and host.blob(blob) is None:
            raise Retry("blob.missing", f"blob {blob} of {part} is not on this node")


def _grows(instance: str, disk: DiskSpec, before: dict[str, str | None], host: Host) -> bool:
    if disk.kind != "disk" or disk.size_gb == 0 or disk.file not in before:
        return False
    return host.grow_disk(instance, disk) != "unchanged"


def _plug_and_power(spec: InstanceSpec, digest: str, domain: DomainState | None, host: Host) -> bool:
    """Devices and power; true when anything was needed. A guest lets go of a device only while it runs."""
    if domain is None or spec.power == Power.OFF:
        return _follow_power_wish(spec, digest, domain, host)
    if spec.power == Power.PAUSED:
        plugged = _plug(spec, domain, host)
        return _follow_power_wish(spec, digest, domain, host) or plugged
    moved = _follow_power_wish(spec, digest, domain, host)
    return _plug(spec, domain, host) or moved


def _plug(spec: InstanceSpec, domain: DomainState, host: Host) -> bool:
    """Give the domain the cards and disks that it lacks, then take those that it should not have."""
    new_cards = [card for card in spec.interfaces if card.mac not in domain.macs]
    new_disks = [disk for disk in spec.disks if disk.file not in domain.disks]
    old_macs = [mac for mac in domain.macs if mac not in {card.mac for card in spec.interfaces}]
    old_disks = [file for file in domain.disks if file not in {disk.file for disk in spec.disks}]
    for card in new_cards:
        host.attach_interface(spec.instance, card)
    for disk in new_disks:
        host.attach_disk(spec.instance, disk)
    for mac in old_macs:
        host.detach_interface(spec.instance, mac)
    for file in old_disks:
        host.detach_disk(spec.instance, disk_device(file))
    return bool(new_cards or new_disks or old_macs or old_disks)


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
        {
            "blob.unsafe",
            "cancelled",
            "device.refused",
            "disk.conflict",
            "disk.full",
            "instance.unsupported",
            "memory.full",
            "node.unsupported",
            "port.taken",
        }
    ),
)

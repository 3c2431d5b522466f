"""Take a data disk away from its instance, with what is on it."""

from uuid import UUID

from sftasks import devices, engine
from sftasks.operation import Accepted
from sftasks.plans import instances
from sfweb.domain.callers import Caller
from sfweb.domain.instance_rules import HOT_BUSES
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, NotFound
from sfweb.models import Disk, Instance, Operation, Step
from sfweb.models.state import OPEN_OPERATION, State, StepState, transition


@durable
def request(caller: Caller, instance: Instance, device: str) -> Accepted:
    """Ask for the disk's end. Repeated, it answers the same operation.

    Raises NotFound for a disk that is not there, Conflict for the boot disk and where the guest cannot let go of it now.
    """
    key = f"instance:{instance.pk}"
    running = Operation.objects.filter(
        object_key=key, kind="disk_detach", state__in=OPEN_OPERATION, params__device=device
    ).first()
    if running is not None:
        return Accepted(Disk.objects.filter(pk=running.params["disk"]).first(), running)
    disk = instance.disks.filter(device=device).first()
    if disk is None:
        raise NotFound(f"disk not found: {device}")
    operation = engine.submit(instances.wish("disk_detach", instance, caller, disk=str(disk.pk), device=device))
    row = devices.lock_created(instance.pk)
    _require_free(row, disk)
    if disk.state != State.DELETE_WAIT:
        transition(disk, State.DELETE_WAIT)
    instances.raise_generation(row.pk)
    return Accepted(disk, operation)


def _require_free(row: Instance, disk: Disk) -> None:
    if disk.position == 0:
        raise Conflict(f"{disk.device} is what the instance boots from", code="disk.boot")
    if row.power != "off" and disk.bus not in HOT_BUSES:
        raise Conflict(
            f"a disk on {disk.bus} can only be detached while the instance is off: it is {row.power}",
            code="instance.power",
        )
    devices.require_unpaused(row)


def retract(operation: Operation) -> None:
    """The instance keeps the disk, unless its file has gone already: a cancel may come too late."""
    gone = Step.objects.filter(operation=operation, purpose="do", state=StepState.DONE).exists()
    disk = Disk.objects.filter(pk=operation.params["disk"], state=State.DELETE_WAIT).first()
    if disk is not None and not gone:
        transition(disk, State.CREATED)
    instances.raise_generation(UUID(operation.params["instance"]))


OPERATION = devices.change("disk_detach", retract)

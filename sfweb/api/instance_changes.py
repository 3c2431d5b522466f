"""What changes about an instance that is there: its interfaces, its disks, its name and size."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import disk_attach, disk_detach, interface_plug
from sfweb.api.base import ApiView, Input, Nothing, Number, Page, Text, accepted, started, takes
from sfweb.api.instance_inputs import CardInput, DiskInput
from sfweb.api.instance_views import block_device
from sfweb.api.interfaces import interface_views
from sfweb.api.lists import listed
from sfweb.domain.instance_rules import new_disk, new_interface
from sfweb.domain.lookup import find_instance
from sfweb.models import Disk, Interface
from sfweb.models.state import State


class PlugInput(Input):
    network = CardInput(required=True)


class SizeInput(Input):
    device = Text(required=True, max_length=16)
    size = Number(required=True, min_value=1, max_value=65536)


class ChangeInput(Input):
    """What is left out stays as it is. Memory in MiB, disks in GiB."""

    name = Text()
    cpus = Number(min_value=1, max_value=512)
    memory = Number(min_value=16, max_value=16 * 1024 * 1024)
    disk = SizeInput(many=True, required=False)


def shown_interface(ref: Any) -> dict[str, Any]:
    return interface_views([Interface.objects.get(pk=ref)])[0]


def shown_disk(ref: Any) -> dict[str, Any] | None:
    row = Disk.objects.filter(pk=ref).first()
    return block_device(row) if row else None


class InstanceInterfaces(ApiView):
    @takes(Page)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        rows = Interface.objects.filter(instance=find_instance(self.caller, ref)).exclude(state=State.DELETED)
        return listed(request, rows.order_by("order", "uuid"), wanted, interface_views)

    @takes(PlugInput, creates=True, shown=shown_interface)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        made = interface_plug.request(self.caller, instance, new_interface(wanted["network"]))
        return started(request, made.operation, shown_interface(made.row.pk))


class InstanceDisks(ApiView):
    """Ours: a data disk comes, also while the guest runs."""

    @takes(DiskInput, creates=True, shown=shown_disk, answered=accepted)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        instance = find_instance(self.caller, ref)
        made = disk_attach.request(self.caller, instance, new_disk(wanted, settings.FETCH_ALLOW))
        return accepted(request, made.operation, block_device(made.row))


class InstanceDisk(ApiView):
    """Ours: a data disk goes, with what is on it."""

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str, device: str) -> Response:
        gone = disk_detach.request(self.caller, find_instance(self.caller, ref), device)
        return accepted(request, gone.operation, block_device(gone.row) if gone.row else None)

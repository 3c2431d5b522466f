"""Instances: created, alone or as a batch, shown, switched, deleted."""

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ListField, ValidationError

from sftasks.operations import instance_create, instance_delete, instance_power, instance_update
from sfweb.api.base import (
    ApiView,
    Flag,
    FreeObject,
    InNamespace,
    Input,
    Nothing,
    Number,
    Text,
    accepted,
    operation_handle,
    started,
    takes,
)
from sfweb.api.filters import InstanceFilter
from sfweb.api.instance_changes import ChangeInput
from sfweb.api.instance_inputs import CardInput, DiskInput
from sfweb.api.instance_views import instance_views, plain
from sfweb.api.lists import Filtered, listed, living
from sfweb.api.operation_pointers import pointers
from sfweb.api.scopes import require_system
from sfweb.domain.deletion import namespace_to_empty
from sfweb.domain.instance_rules import MOST_AT_ONCE, instance_change, new_instance, new_instances
from sfweb.domain.lookup import find_instance, read_instance
from sfweb.errors import NotFound
from sfweb.models import Instance, Operation
from sfweb.models.state import State

GOING = (State.DELETE_WAIT, State.DELETED)


class ListInput(Filtered):
    """`all` shows deleted ones too, for as long as their rows are kept; so does a `state` that asks for them."""

    filters = InstanceFilter
    all = Flag()


class VideoInput(Input):
    model = Text()
    memory = Number()
    vdi = Text()


class NewInstanceInput(Input):
    name = Text(required=True)
    cpus = Number(required=True, min_value=1, max_value=512)
    memory = Number(required=True, min_value=16, max_value=16 * 1024 * 1024)
    network = CardInput(many=True, required=False)
    disk = DiskInput(many=True, required=False)
    ssh_key = Text(max_length=16384)
    user_data = Text(max_length=1024 * 1024, allow_blank=True)
    namespace = Text()
    video = VideoInput(required=False)
    configdrive = Text()
    metadata = FreeObject(required=False)
    side_channels = ListField(child=Text(required=True), required=False, max_length=8)
    uefi = Flag()
    secure_boot = Flag()
    nvram_template = Text(max_length=255)
    placed_on = Text()


class CreateInput(NewInstanceInput):
    """`diagnose`, for keys of system: only say where it would go, and change nothing."""

    diagnose = Flag()


class BatchInput(Input):
    instances = NewInstanceInput(many=True, allow_empty=False, max_length=MOST_AT_ONCE)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        try:
            return super().to_internal_value(data)
        except ValidationError as error:
            raise ValidationError(numbered(error.detail)) from None


class DeleteAllInput(Input):
    """`confirm` is the word that shows that everything is meant."""

    confirm = Flag()
    namespace = Text(max_length=64)


def shown(ref: uuid.UUID) -> dict[str, Any]:
    """One instance as its rows stand now, with its operations."""
    return _in_full(plain(Instance.objects.filter(pk=ref)).get())


def _in_full(row: Any) -> dict[str, Any]:
    return instance_views([row])[0] | pointers("instance", row.uuid)


def numbered(detail: Any) -> Any:
    """What is wrong with members of a batch, under the name of each: `instances[3]`."""
    members = detail.get("instances")
    if not isinstance(members, dict) or not all(isinstance(index, int) for index in members):
        return detail
    return {f"instances[{index}]": wrong for index, wrong in members.items()}


def shown_together(made: Sequence[uuid.UUID], making: Sequence[Operation]) -> list[dict[str, Any]]:
    """Instances in this order, each with the operation that makes it; as many queries for a hundred as for one."""
    rows = {row.uuid: row for row in plain(Instance.objects.filter(pk__among=made))}
    views = instance_views([rows[identity] for identity in made])
    handles = {operation.object_key: operation_handle(operation) for operation in making}
    return [
        view | {"last_cluster_operation": handles[f"instance:{identity}"]}
        for view, identity in zip(views, made, strict=True)
    ]


def batch_again(request: Request, made: Sequence[uuid.UUID]) -> Response:
    keys = [f"instance:{identity}" for identity in made]
    making = Operation.objects.filter(kind="instance_create", object_key__in=keys)
    return Response(shown_together(made, list(making)), status=202)


class Instances(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = Instance.objects.order_by("created_at", "uuid")
        if not self.caller.is_system:
            rows = rows.filter(namespace_id=self.own_uuid)
        return listed(request, living(rows, wanted), wanted, instance_views, InstanceFilter, plain)

    @takes(CreateInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        if wanted.get("diagnose"):
            return self._diagnosis(wanted)
        made = instance_create.request(self.caller, new_instance(self.caller, wanted, settings.FETCH_ALLOW))
        view = shown_together([made.row.pk], [made.operation])[0]
        return started(request, made.operation, view)

    def _diagnosis(self, wanted: dict[str, Any]) -> Response:
        require_system(self.caller)
        return Response(instance_create.diagnose(self.caller, new_instance(self.caller, wanted, settings.FETCH_ALLOW)))

    @takes(DeleteAllInput)
    def delete(self, request: Request, wanted: dict[str, Any]) -> Response:
        namespace = namespace_to_empty(self.caller, wanted)
        rows = Instance.objects.select_related("namespace").filter(namespace=namespace).exclude(state__in=GOING)
        return Response([str(instance_delete.request(self.caller, row).row.uuid) for row in rows])


class InstanceBatch(ApiView):
    """Ours: all of them or none. Each view names its operation."""

    @takes(BatchInput, creates=True, again=batch_again)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        checked = new_instances(self.caller, wanted["instances"], settings.FETCH_ALLOW)
        made = instance_create.request_batch(self.caller, checked)
        return Response(shown_together([row.uuid for row in made.rows], made.operations), status=202)


class InstanceDetail(ApiView):
    @takes(InNamespace)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = read_instance(self.caller, ref, wanted.get("namespace"), plain)
        return Response(_in_full(row))

    @takes(InNamespace)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_instance(self.caller, ref, wanted.get("namespace"))
        if row.state == State.DELETED:
            raise NotFound(f"instance not found: {ref}")
        gone = instance_delete.request(self.caller, row)
        return started(request, gone.operation, shown(row.uuid))

    @takes(ChangeInput)
    def patch(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        """Ours: name, size, and larger disks."""
        change = instance_change(wanted)
        made = instance_update.request(self.caller, find_instance(self.caller, ref), change)
        return accepted(request, made.operation, shown(made.row.uuid))


class InstancePower(ApiView):
    """One of the verbs of power; the answer is null and names the operation. `verb` comes from the address table."""

    verb = ""
    scopes: ClassVar[Any] = {"POST": ("instance.power",)}

    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        made = instance_power.request(self.caller, find_instance(self.caller, ref), self.verb)
        return started(request, made.operation, None)

"""A node's life as its operator leads it: cordoning, draining, moving what is there. For keys of the system namespace."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import instance_migrate, instance_rebuild, node_drain
from sfweb.api.base import Flag, Input, Nothing, SystemView, Text, accepted, takes
from sfweb.api.instances import shown
from sfweb.api.nodes import node_views
from sfweb.domain.lookup import find_instance, find_node
from sfweb.domain.node_life import clear_error
from sfweb.domain.nodes import cordon


class NodeCordon(SystemView):
    """Ours: nothing new is placed on the node, or it is again. Repeated, it changes nothing."""

    family = "node"
    cordoned = True

    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_node(ref)
        cordon(self.caller, row, self.cordoned)
        return Response(node_views([find_node(str(row.uuid))])[0])


class NodeClearError(SystemView):
    """Ours: what was wrong with the node's storage is mended; it is placed on again."""

    family = "node"

    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_node(ref)
        clear_error(row, str(self.caller))
        return Response(node_views([find_node(str(row.uuid))])[0])


class DrainInput(Input):
    """`cold`: a guest that cannot move while it runs is shut down for it, and is on again on the other node."""

    cold = Flag()


class NodeDrain(SystemView):
    """Ours: the node is cordoned and its instances move away. The operation says how far that is, and what has to stay."""

    family = "node"

    @takes(DrainInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        asked = node_drain.request(self.caller, find_node(ref), bool(wanted.get("cold")))
        return accepted(request, asked.operation, node_views([find_node(str(asked.row.uuid))])[0])


class MigrateInput(Input):
    """`placed_on`: a node's name or uuid, else the best. `live` false: a guest that runs is shut down for it; true: it is not
    moved unless it runs; without it, it moves as it is.
    """

    placed_on = Text(max_length=64)
    live = Flag()


class InstanceMigrate(SystemView):
    """Ours: the instance goes to another node, with its disks, addresses and MACs."""

    family = "instance"

    @takes(MigrateInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_instance(self.caller, ref)
        asked = instance_migrate.request(self.caller, row, wanted.get("placed_on"), wanted.get("live"))
        return accepted(request, asked.operation, shown(row.uuid))


class RebuildInput(Input):
    """`blank`: with its disks as they were first made, whatever snapshots there are."""

    placed_on = Text(max_length=64)
    blank = Flag()


class InstanceRebuild(SystemView):
    """Ours: an instance whose node was declared dead is made again on another, from its newest snapshot."""

    family = "instance"

    @takes(RebuildInput)
    def post(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_instance(self.caller, ref)
        asked = instance_rebuild.request(self.caller, row, wanted.get("placed_on"), bool(wanted.get("blank")))
        return accepted(request, asked.operation, shown(row.uuid))

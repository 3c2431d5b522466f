"""Nodes, for keys of the system namespace."""

from collections.abc import Sequence
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sftasks import engine, parents
from sftasks.operations import node_delete
from sftasks.reconcilers import node_deletes
from sfweb.api.base import Flag, Input, Nothing, SystemView, seconds, started, takes
from sfweb.api.filters import NodeFilter
from sfweb.api.lists import Filtered, listed, living
from sfweb.domain.cluster_resources import cpu_metrics
from sfweb.domain.lookup import find_node
from sfweb.domain.metadata import metadata_of
from sfweb.errors import NotFound
from sfweb.models import Node
from sfweb.models.state import State


def node_views(rows: Sequence[Node]) -> list[dict[str, Any]]:
    """As the client reads nodes. `rows` come with capacity selected; one query more."""
    metadata = metadata_of("node", [row.uuid for row in rows])
    return [
        {
            "uuid": str(row.uuid),
            "state": row.state,
            "metadata": metadata[row.uuid],
            "version": 1,
            "name": row.name,
            "fqdn": row.name,
            "ip": row.mesh_address,
            "lastseen": seconds(row.last_seen) or 0.0,
            "release": str(row.facts.get("release", "")),
            "is_etcd_master": False,
            "is_hypervisor": True,
            "is_network_node": row.carrier_eligible,
            "is_eventlog_node": False,
            "is_database_node": False,
            "is_cluster_maintainer": False,
            "cordoned": row.cordoned,
            "error_message": row.error_message,
            "clock_skew": row.clock_skew,
            "capacity": _capacity(row),
        }
        for row in rows
    ]


def _capacity(row: Node) -> dict[str, int] | None:
    capacity = getattr(row, "capacity", None)
    if capacity is None:
        return None
    names = ("limit_cpus", "limit_memory_mb", "limit_disk_gb", "used_cpus", "used_memory_mb", "used_disk_gb")
    return {name: getattr(capacity, name) for name in names}


class ListInput(Filtered):
    filters = NodeFilter


class Nodes(SystemView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = living(Node.objects.select_related("capacity").order_by("name"), wanted)
        return listed(request, rows, wanted, node_views, NodeFilter)


class DeleteInput(Input):
    """`cascade`: its instances are deleted first; without it, a node that has something is refused."""

    cascade = Flag()


class NodeDetail(SystemView):
    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(node_views([find_node(ref)])[0])

    @takes(DeleteInput)
    def delete(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        row = find_node(ref)
        if row.state == State.DELETED:
            raise NotFound(f"node not found: {ref}")
        gone = node_delete.request(self.caller, row, bool(wanted.get("cascade")))
        # the first page at once, the rest by the clock
        engine.after_commit(parents.go_on_with, gone.operation.pk, node_deletes.go_on)
        return started(request, gone.operation, node_views([find_node(str(row.uuid))])[0])


class NodeCpuMetrics(SystemView):
    """Shares of one CPU, as the node last said; empty until it has said so."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        return Response(cpu_metrics(find_node(ref).facts))

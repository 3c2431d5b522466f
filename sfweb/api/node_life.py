"""A node's life as its operator leads it: cordoning it. For keys of the system namespace."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import Nothing, SystemView, takes
from sfweb.api.nodes import node_views
from sfweb.domain.lookup import find_node
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

"""The operations of one instance, network or artifact, in the public client's words (CO-21)."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import UUIDField

from sfweb.api.base import Flag, Input, Number, takes
from sfweb.api.metadata import MetadataView
from sfweb.api.operations import MAX_PAGE, cluster_page, visible_operations
from sfweb.models.state import OPEN_OPERATION

WITH_OPERATIONS = ("instances", "networks", "artifacts")


class OfObjectInput(Input):
    """Without `all` only what is outstanding; with it what has ended too. `before` is the last of the page before."""

    all = Flag()
    limit = Number(min_value=1, max_value=MAX_PAGE)
    before = UUIDField(required=False)


class ObjectOperations(MetadataView):
    """Newest first, those that only look too; a full page names the next in its Link header (CV-5)."""

    @takes(OfObjectInput)
    def get(self, request: Request, wanted: dict[str, Any], ref: str) -> Response:
        found = self.owner.read(self.caller, ref)
        rows = visible_operations(self.caller).filter(
            targets__target_type=self.owner.object_type, targets__target_uuid=found.pk
        )
        if not wanted.get("all"):
            rows = rows.filter(state__in=OPEN_OPERATION)
        return cluster_page(request, self.caller, rows, wanted)

"""Labels: names that a namespace gives to versions of images; and the names of well-known images."""

from functools import partial
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from sftasks.operations import artifact_delete, artifact_publish
from sfweb.api.artifacts import MOST_VERSIONS, artifact_views, shown
from sfweb.api.base import ApiView, Flag, Input, Nothing, Number, Text, started, takes
from sfweb.api.filters import LISTED, LabelFilter
from sfweb.api.lists import Filtered, listed
from sfweb.domain import catalogue
from sfweb.domain.artifact_rules import find_label, new_label
from sfweb.domain.lookup import visible_artifacts
from sfweb.models import ArtifactKind


class ListInput(Filtered):
    """`namespace`: only the labels of that one."""

    filters = LabelFilter


class Labels(ApiView):
    @takes(ListInput)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        rows = visible_artifacts(self.caller).select_related("namespace")
        rows = rows.filter(kind=ArtifactKind.LABEL, state__in=LISTED)
        views = partial(artifact_views, self.caller)
        return listed(request, rows.order_by("namespace__name", "name", "uuid"), wanted, views, LabelFilter)


class LabelInput(Input):
    """Exactly one source; `artifact` is a uuid or name, and `version` one of its numbers, else the newest."""

    blob_uuid = Text(max_length=36)
    artifact = Text()
    version = Number(min_value=1)
    url = Text()
    upload_uuid = Text(max_length=36)
    sha512 = Text()
    max_versions = Number(min_value=1, max_value=MOST_VERSIONS)
    shared = Flag()


class Label(ApiView):
    """`NAME`, which is the caller's own, or `NAMESPACE/NAME`. Posting again adds a version."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any], name: str) -> Response:
        return Response(shown(find_label(self.caller, name).uuid, self.caller))

    @takes(LabelInput, creates=True, shown=shown)
    def post(self, request: Request, wanted: dict[str, Any], name: str) -> Response:
        checked = new_label(self.caller, name, wanted, settings.FETCH_ALLOW)
        made = artifact_publish.request(self.caller, checked)
        return started(request, made.operation, shown(made.row.uuid, self.caller))

    @takes(Nothing)
    def delete(self, request: Request, wanted: dict[str, Any], name: str) -> Response:
        row = find_label(self.caller, name, to_write=True)
        gone = artifact_delete.request(self.caller, row)
        return started(request, gone.operation, shown(row.uuid, self.caller))


class WellKnownImages(ApiView):
    """What may be named as a disk's base although nobody has fetched it yet."""

    @takes(Nothing)
    def get(self, request: Request, wanted: dict[str, Any]) -> Response:
        return Response([{"name": image.name, "url": image.url} for image in catalogue.images().values()])

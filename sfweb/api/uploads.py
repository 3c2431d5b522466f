"""Uploads: chunks pass through any API process to the node that collects them."""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.base import ApiView, Nothing, seconds, takes
from sfweb.api.formats import RawBytes
from sfweb.domain.lookup import find_upload
from sfweb.domain.uploads import begin_upload, check_offset, check_room, chunk_offset, moved
from sfweb.errors import Invalid
from sfweb.models import Upload
from sfweb.node_bytes import append_upload, truncate_upload


def upload_view(row: Upload) -> dict[str, Any]:
    row.refresh_from_db(fields=["created_at"])
    return {
        "uuid": str(row.uuid),
        "state": row.state,
        "metadata": {},
        "version": 1,
        "node": row.node.name,
        "created_at": seconds(row.created_at),
        "size": row.size,
    }


class Uploads(ApiView):
    @takes(Nothing, creates=True)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        return Response(upload_view(begin_upload(self.caller)))


class UploadChunk(ApiView):
    """The body is the next chunk as it is; the answer is how many bytes have arrived in all.

    With `?offset=` the chunk goes there: sent again it changes nothing, so an upload that was cut can be taken up.
    """

    parser_classes: ClassVar[Any] = [RawBytes]
    takes_bytes = True

    def get(self, request: Request, ref: str) -> Response:
        return Response(upload_view(find_upload(self.caller, ref)))

    def post(self, request: Request, ref: str) -> Response:
        upload = find_upload(self.caller, ref)
        offset = chunk_offset(upload, request.query_params.get("offset"))
        chunk = request.data
        if not isinstance(chunk, bytes) or not chunk:
            raise Invalid("body: a chunk of at least one byte is needed")
        check_room(offset, len(chunk))
        append_upload(upload.node, upload.uuid, offset, chunk)
        return Response(moved(upload, max(upload.size, offset + len(chunk))))


class UploadTruncation(ApiView):
    @takes(Nothing)
    def post(self, request: Request, wanted: dict[str, Any], ref: str, offset: str) -> Response:
        upload = find_upload(self.caller, ref)
        size = check_offset(upload, offset)
        truncate_upload(upload.node, upload.uuid, size)
        if size != upload.size:
            moved(upload, size)
        return Response(None)

"""What the OpenAPI document says of each view, read from the same declarations that check requests."""

import re
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from sfweb.api.answers import ANSWERS, JSON, OCTETS, UNSAID, Answer, refusals
from sfweb.api.shapes import SHAPES, ref

BODILESS = frozenset({"GET", "DELETE"})
REFUSED = {
    400: "A parameter is unknown, missing or out of its range; `details.parameter` names it.",
    401: "No token, one that is over, or a key that may not do this.",
    403: "The key lacks a scope (`details.missing`), or nobody may do this here.",
    404: "There is no such object, or it is another's.",
    406: "Something that this builds on is not finished: ask again.",
    409: "It does not fit what is there already, or its state.",
    500: "What the answer waited for did not succeed; `details.operation` says why.",
    503: "The database or a node cannot be reached at the moment.",
    507: "No room; `details.stage` says of what, `Retry-After` whether waiting can help.",
}
LINK = OpenApiParameter("Link", str, OpenApiParameter.HEADER, description="`rel=next`: the next page.", response=[200])
OPERATION_LINK = OpenApiParameter(
    "Link", str, OpenApiParameter.HEADER, description="`rel=operation`: what makes it true.", response=[200, 202]
)
ONCE = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="A repeat with the same key is answered alike."
)
ASYNC = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="`respond-async`: answer 202 with the operation."
)


PLACES = {
    "ref": "A uuid, or a name where the object has one.",
    "namespace": "A namespace's name.",
    "external_namespace": "A namespace's name.",
    "key": "The metadata's name.",
    "key_name": "The key's name.",
    "device": "The disk's name in the guest, as `vdb`.",
    "address": "An IPv4 address.",
    "name": "The artifact's name; of a label also `NAMESPACE/NAME`.",
    "offset": "A number of bytes.",
    "algorithm": "sha1, sha256, sha512 or xxh128.",
    "checksum": "Hexadecimal digits.",
    "op_type": "The operation's kind.",
    "ticket": "What an earlier answer gave out, once.",
}
"""What stands in an address."""


def add_shapes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of the generator: the named shapes stand among the components, once each."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(SHAPES)
    return result


class ViewSchema(AutoSchema):
    """Input from `@takes`; answers from `answers.py`."""

    @property
    def _verb(self) -> Any:
        return getattr(self.view, self.method.lower(), None)

    @property
    def _input(self) -> Any:
        return getattr(self._verb, "input_class", None)

    @property
    def _answer(self) -> Answer:
        return ANSWERS.get((self.path, self.method.lower()), UNSAID)

    def get_request_serializer(self) -> Any:
        if getattr(self.view, "takes_bytes", False):
            return {OCTETS: OpenApiTypes.BINARY}
        return self._input if self.method not in BODILESS else None

    def get_override_parameters(self) -> list[Any]:
        found: list[Any] = [
            OpenApiParameter(name, str, OpenApiParameter.PATH, description=PLACES[name])
            for name in re.findall(r"{(\w+)}", self.path)
            if name in PLACES
        ]
        if getattr(self.view, "takes_bytes", False) and self.method == "POST":
            found.append(OpenApiParameter("offset", int, description="Where the chunk goes; else at the end."))
        elif self.method in BODILESS and self._input and self._input().fields:
            found.append(self._input)
        if getattr(self._verb, "creates", False):
            found.append(ONCE)
        if self._answer.operation or self._answer.status == 202:
            found += [OPERATION_LINK, ASYNC]
        elif "limit" in getattr(self._input, "_declared_fields", {}) and self._answer.media == JSON:
            found.append(LINK)
        return found

    def map_parsers(self) -> list[Any]:
        return [OCTETS if getattr(self.view, "takes_bytes", False) else JSON]

    def get_response_serializers(self) -> Any:
        answer = self._answer
        found: dict[Any, Any] = {(answer.status, answer.media): OpenApiResponse(answer.shape, "Done.")}
        if answer.operation:
            found[202, JSON] = OpenApiResponse(ref("Operation"), "It goes on; this is the operation.")
        creates = getattr(self._verb, "creates", False)
        for status in refusals(answer, self.path, creates=creates):
            found[status, JSON] = OpenApiResponse(ref("Error"), REFUSED[status])
        return found

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        shape: dict[str, Any] = super()._map_basic_serializer(serializer, direction)
        return {**shape, "additionalProperties": False} if getattr(serializer, "is_closed", False) else shape

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part and not part.startswith("{")]
        return [parts[1] if parts[:1] == ["auth"] and len(parts) > 1 else parts[0] if parts else "root"]

    def get_operation_id(self) -> str:
        names = [part.strip("{}") for part in self.path.split("/") if part]
        return "_".join([self.method.lower(), *names])

    def get_filter_backends(self) -> list[Any]:
        return []

    def get_description(self) -> str:
        return (self.view.__doc__ or "").strip()


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "sfweb.api.auth.BearerToken"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "sfweb.api.auth.BrowserSession"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}

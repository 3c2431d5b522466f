"""What the OpenAPI document says of each view, read from the same declarations that check requests."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes

BODILESS = frozenset({"GET", "DELETE"})


class ViewSchema(AutoSchema):
    """Input from `@takes`; answers are free JSON objects, described in the user guide."""

    @property
    def _input(self) -> Any:
        return getattr(getattr(self.view, self.method.lower(), None), "input_class", None)

    def get_request_serializer(self) -> Any:
        if getattr(self.view, "takes_bytes", False):
            return {"application/octet-stream": OpenApiTypes.BINARY}
        return self._input if self.method not in BODILESS else None

    def get_override_parameters(self) -> list[Any]:
        return [self._input] if self.method in BODILESS and self._input and self._input().fields else []

    def get_response_serializers(self) -> Any:
        return OpenApiTypes.ANY

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

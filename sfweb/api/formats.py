"""Bodies in and out. JSON on every verb, whatever the content type says; never an empty answer."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer

from sfweb.errors import Invalid, SteadyfistError

MAX_JSON = 2 * 1024 * 1024
MAX_CHUNK = 8 * 1024 * 1024


def _declared_length(context: Mapping[str, Any] | None) -> int:
    request = (context or {}).get("request")
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0) if request else 0
    except ValueError:
        return 0


def _read(stream: Any, context: Mapping[str, Any] | None, limit: int) -> bytes:
    if _declared_length(context) > limit:
        raise Invalid(f"body: larger than {limit} bytes")
    body: bytes = stream.read(limit + 1)
    if len(body) > limit:
        raise Invalid(f"body: larger than {limit} bytes")
    return body


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


class AnyJson(BaseParser):
    """JSON of any content type: the public client sends bodies with GET and DELETE too."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = _read(stream, parser_context, MAX_JSON)
        if not body.strip():
            return {}
        try:
            document = json.loads(body, parse_constant=_refuse_constant)
            json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # lone surrogates, 1e999
        except (ValueError, RecursionError) as error:
            raise Invalid("body: not valid JSON", code="malformed") from error
        return document


class RawBytes(BaseParser):
    """One chunk of an upload, as it is."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> bytes:
        return _read(stream, parser_context, MAX_CHUNK)


class Json(JSONRenderer):
    """JSON that is never empty: the public client parses every answer, and `null` is one."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"null" if data is None else super().render(data, accepted_media_type, renderer_context)


class Browsable(BrowsableAPIRenderer):
    """The page that a browser gets for any address of the API."""

    def get_default_renderer(self, view: Any) -> Json:
        return Json()

    def show_form_for_method(self, view: Any, method: str, request: Any, obj: Any) -> Any:
        """What the caller may not do has no form."""
        try:
            return super().show_form_for_method(view, method, request, obj)
        except SteadyfistError:
            return False

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        try:
            return super().get_rendered_html_form(data, view, method, request)
        except SteadyfistError:
            return None


class JsonUnlessAsked(DefaultContentNegotiation):
    """What is asked for where we have it, else JSON: 406 has another meaning to the public client."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            return renderers[0], renderers[0].media_type

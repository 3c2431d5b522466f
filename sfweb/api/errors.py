"""Which refusal is which status, and the one shape of every error. Nothing else knows statuses of errors.

`error` and `status` are what the public client reads; `code` is stable, `details` is plain JSON.
"""

import logging
from typing import Any
from urllib.parse import quote

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response

from sfweb import errors

log = logging.getLogger(__name__)

STATUS: dict[type[errors.SteadyfistError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotReady: 406,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.Unavailable: 503,
    errors.NoCapacity: 507,
}
OBJECT_ERRORS = frozenset({"networks_in_use"})
"""Codes whose `error` is an object to the public client: the details."""
RETRY_AFTER_SECONDS = 15
CHALLENGE = 'Bearer realm="steadyfist"'


def answer_exception(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's exception handler. None for what nobody expected: that is Django's, logged and answered 500."""
    request = context["request"]
    known = _as_known(error)
    if known is None:
        return None
    status = status_of(known)
    if status == 401 and _wants_page(request):
        return HttpResponseRedirect(f"/login?next={quote(request.get_full_path())}")
    return Response(body(known, status, request), status=status, headers=_headers(known, status))


def status_of(error: errors.SteadyfistError) -> int:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def body(error: errors.SteadyfistError, status: int, request: Any) -> dict[str, Any]:
    return {
        "error": error.details if error.code in OBJECT_ERRORS else str(error),
        "status": status,
        "code": error.code,
        "details": error.details,
        "request_id": getattr(request, "id", ""),
    }


def _headers(error: errors.SteadyfistError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": CHALLENGE}
    if status == 503 or (isinstance(error, errors.NoCapacity) and error.transient):
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def _wants_page(request: Any) -> bool:
    renderer = getattr(request, "accepted_renderer", None)
    return request.method == "GET" and getattr(renderer, "media_type", "") == "text/html"


def _as_known(error: Exception) -> errors.SteadyfistError | None:
    if isinstance(error, errors.SteadyfistError):
        return error
    if isinstance(error, _outages()):
        log.warning("the database did not answer: %s", error.args[0] if error.args else "")
        return errors.Unavailable("the database cannot be reached at the moment")
    if isinstance(error, Http404):
        return errors.NotFound("there is nothing at this address")
    if isinstance(error, RequestDataTooBig | SuspiciousOperation):
        return errors.Invalid("body: too large or malformed")
    return _from_framework(error) if isinstance(error, drf.APIException) else None


def _outages() -> tuple[type[Exception], ...]:
    # the driver's own errors too: Django does not wrap what closing a cursor raises
    driver = connection.Database
    return OperationalError, InterfaceError, driver.OperationalError, driver.InterfaceError


def _from_framework(error: drf.APIException) -> errors.SteadyfistError | None:
    if isinstance(error, drf.ValidationError):
        parameter, reason = first_reason(error.detail)
        return errors.Invalid(f"{parameter}: {reason}", details={"parameter": parameter})
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        return errors.Unauthenticated(str(error.detail))
    if isinstance(error, drf.PermissionDenied):
        return errors.Forbidden(str(error.detail))
    if isinstance(error, drf.MethodNotAllowed):
        return MethodNotAllowed(str(error.detail))
    if isinstance(error, drf.ParseError | drf.UnsupportedMediaType):
        return errors.Invalid(f"body: {error.detail}")
    return None


class MethodNotAllowed(errors.SteadyfistError):
    """The address exists, this verb does not."""

    code = "method_not_allowed"


STATUS[MethodNotAllowed] = 405


def first_reason(detail: Any, path: str = "") -> tuple[str, str]:
    """The first leaf of the framework's error tree: dotted parameter and reason."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        here = "" if name == "non_field_errors" else str(name)
        return first_reason(inner, ".".join(part for part in (path, here) if part))
    if isinstance(detail, list):
        return first_reason(detail[0], path)
    return path or "body", str(detail)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    known = errors.NotFound("there is nothing at this address")
    return JsonResponse(body(known, 404, request), status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse(body(errors.Invalid("the request is malformed"), 400, request), status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    """The cause stands in the log under this request id; strangers do not see it."""
    return JsonResponse(body(errors.SteadyfistError("internal error"), 500, request), status=500)

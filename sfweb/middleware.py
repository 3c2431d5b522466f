"""What surrounds every request: its identity, its metrics, and the tolerance that the public client needs."""

import re
import time
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from sfweb import logs, metrics

PROBES = frozenset({"livez", "readyz", "healthz"})
"""Not counted: counters of several processes lie in files, and a probe touches none (HC-4)."""
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")


class RequestIdentity:
    """Gives each request an id (the caller's own when it is well formed), in logs, events and the answer's header.

    Leading slashes count as one: a base URL that ends with a slash makes the client ask for `//auth`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request.id = given if ACCEPTABLE_ID.match(given) else str(uuid.uuid4())  # type: ignore[attr-defined]
        if request.path_info.startswith("//"):
            request.path_info = "/" + request.path_info.lstrip("/")
            request.path = "/" + request.path.lstrip("/")
        token = logs.request_id.set(request.id)  # type: ignore[attr-defined]
        started = time.monotonic()
        try:
            response = self.get_response(request)
        finally:
            logs.request_id.reset(token)
        response["X-Request-ID"] = request.id  # type: ignore[attr-defined]
        route = request.resolver_match.route if request.resolver_match else "(none)"
        if route not in PROBES:
            metrics.count_request(request.method or "", route, response.status_code, time.monotonic() - started)
        return response

"""A POST that creates is done once per `Idempotency-Key`: a repeat gets the first answer again.

The key belongs to the caller's namespace and to one address and body; another body is refused. While the first is
unfinished, or when its process died in between, a repeat is refused too: nobody knows yet what became of it.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.errors import Conflict, Invalid, SteadyfistError
from sfweb.models import IdempotencyKey

KEPT_HEADERS = ("Link", "Location", "Preference-Applied")


def once(request: Request, given: dict[str, Any], answer: Callable[[], Response]) -> Response:
    """`answer()`, or what it answered before to a request with the same key."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return answer()
    if not 0 < len(key) <= 128 or not key.isprintable():
        raise Invalid("Idempotency-Key: must be 1 to 128 printable characters")
    # keyed, because a body may hold a secret that must not be guessed from the row
    body = json.dumps(given, sort_keys=True).encode()
    digest = hmac.new(settings.SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(
                namespace_id=request.user.namespace_uuid, key=key, path=request.path[:255], body_digest=digest
            )
    except IntegrityError:
        return _again(request, key, digest)
    return _first(row, answer)


def _first(row: IdempotencyKey, answer: Callable[[], Response]) -> Response:
    try:
        response = answer()
    except (SteadyfistError, APIException):
        row.delete()  # a refusal changed nothing, so the caller may try again
        raise
    if response.get("Cache-Control") == "no-store":
        row.delete()  # a secret is shown once and kept nowhere
        return response
    row.status = response.status_code
    row.answer = response.data
    row.headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    row.save(update_fields=["status", "answer", "headers"])
    return response


def _again(request: Request, key: str, digest: str) -> Response:
    row = IdempotencyKey.objects.filter(namespace_id=request.user.namespace_uuid, key=key).first()
    if row is None or row.status is None:
        raise Conflict("the first request with this Idempotency-Key is unfinished", code="idempotency_unfinished")
    if row.body_digest != digest or row.path != request.path[:255]:
        raise Conflict("this Idempotency-Key was used for another request", code="idempotency_mismatch")
    return Response(row.answer, status=row.status, headers=row.headers)

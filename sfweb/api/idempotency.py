"""A POST that creates is done once per `Idempotency-Key`: a repeat gets the first answer again.

The key belongs to the caller's namespace and to one address and body; another body is refused. The transaction that
creates notes that in the key's row, so whatever dies at whatever moment, the row tells whether it was done: if not, a
repeat does it; if so, a repeat is answered from the rows. Only while the first may still be at work it is refused.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.domain.transactions import witnessed
from sfweb.errors import Conflict, Invalid
from sfweb.models import IdempotencyKey
from sfweb.models.fields import FromNow

KEPT_HEADERS = ("Link", "Location", "Preference-Applied")
DONE = 102
"""The row's status from the commit of what was asked until its answer is stored: `answer` names operation and objects."""
AT_WORK_SECONDS = 10.0
Again = Callable[[UUID, Sequence[UUID]], Response]
"""Makes the answer from the rows, given the operation and the objects that it is about."""


def once(request: Request, given: dict[str, Any], answer: Callable[[], Response], again: Again | None) -> Response:
    """`answer()`, or what it answered before to a request with the same key."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return answer()
    if not 0 < len(key) <= 128 or not key.isprintable():
        raise Invalid("Idempotency-Key: must be 1 to 128 printable characters")
    # keyed, because a body may hold a secret that must not be guessed from the row
    body = json.dumps(given, sort_keys=True).encode()
    digest = hmac.new(settings.SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()
    old = FromNow(-AT_WORK_SECONDS * settings.TIME_SCALE)
    mine = IdempotencyKey.objects.filter(namespace_id=request.user.namespace_uuid, key=key)
    # Whoever took that long and lives all the same finds its row gone and undoes what it did.
    mine.filter(status=None, created_at__lt=old, body_digest=digest, path=request.path[:255]).delete()
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(
                namespace_id=request.user.namespace_uuid, key=key, path=request.path[:255], body_digest=digest
            )
    except IntegrityError:
        return _repeat(request, mine.first(), digest, again)
    return _first(row, answer)


def _first(row: IdempotencyKey, answer: Callable[[], Response]) -> Response:
    def note(result: Any) -> None:
        if IdempotencyKey.objects.filter(pk=row.pk, status=None).update(status=DONE, answer=_named(result)) != 1:
            raise Conflict("another request with this Idempotency-Key came first", code="idempotency_unfinished")

    try:
        with witnessed(note):
            response = answer()
    except Exception:
        with suppress(DatabaseError):  # nothing was done, so the caller may try again at once
            IdempotencyKey.objects.filter(pk=row.pk, status=None).delete()
        raise
    if response.get("Cache-Control") == "no-store":
        row.delete()  # a secret is shown once and kept nowhere
        return response
    row.status = response.status_code
    row.answer = response.data
    row.headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    row.save(update_fields=["status", "answer", "headers"])
    return response


def _named(result: Any) -> dict[str, Any] | None:
    """The first operation and all objects that were made, for an answer that has to be made again."""
    if hasattr(result, "rows"):
        return {"operation": str(result.operations[0].pk), "objects": [str(made.pk) for made in result.rows]}
    if hasattr(result, "row"):
        return {"operation": str(result.operation.pk), "objects": [str(result.row.pk)]}
    return None


def _repeat(request: Request, row: IdempotencyKey | None, digest: str, again: Again | None) -> Response:
    if row is None or row.status is None:
        raise Conflict("the first request with this Idempotency-Key is unfinished", code="idempotency_unfinished")
    if row.body_digest != digest or row.path != request.path[:255]:
        raise Conflict("this Idempotency-Key was used for another request", code="idempotency_mismatch")
    if row.status != DONE:
        return Response(row.answer, status=row.status, headers=row.headers)
    if again is None or row.answer is None:
        raise Conflict("it was done, but its answer was lost", code="idempotency_answer_lost")
    return again(UUID(row.answer["operation"]), [UUID(made) for made in row.answer["objects"]])

"""What nodes call: enrolment, reports, outcomes, secrets of a step, tickets. Plain JSON, no sessions, no DRF.

Each call but enrolment carries `Authorization: Node <uuid>:<secret>`. A node reaches only what is its own: its steps,
its outcomes, and blobs of steps that it works on (SE-4).
"""

import json
import logging
import math
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from nodeagent.wire import Malformed, Outcome, Report, dump, load
from sfweb.domain import enrolment
from sfweb.errors import Gone, Invalid, NotFound, SteadyfistError, Unauthenticated
from sfweb.internal import intake, vouchers
from sfweb.models import Node

log = logging.getLogger(__name__)
STATUS: dict[type[Exception], int] = {Unauthenticated: 401, Gone: 410, NotFound: 404, Invalid: 400, Malformed: 400}
View = Callable[..., JsonResponse]
MAX_BODY = 8 * 2**20


def _answering(view: Callable[..., dict[str, Any]]) -> View:
    """POST only, errors as JSON with their status; the database's absence is 503, never a refusal (HC-22)."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest, **arguments: Any) -> JsonResponse:
        if request.method != "POST":
            return JsonResponse({"error": "POST only"}, status=405)
        try:
            return JsonResponse(view(request, **arguments))
        except (SteadyfistError, Malformed) as error:
            return JsonResponse({"error": str(error)}, status=STATUS.get(type(error), 409))
        except DatabaseError as error:
            log.warning("database unavailable", extra={"error": str(error)})
            return JsonResponse({"error": "the database is unavailable"}, status=503)

    return answer


def _body(request: HttpRequest) -> Any:
    """Parsed JSON whose every text and number the database can hold; half a surrogate pair becomes a question mark."""
    if len(request.body) > MAX_BODY:
        raise Invalid("the body is too large")
    try:
        document = json.loads(request.body, parse_constant=_number, parse_float=_number, parse_int=_whole_number)
        if b"\\u" in request.body:
            document = json.loads(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
        return document
    except (ValueError, RecursionError):
        raise Invalid("the body is not JSON") from None


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a number")
    return value


def _whole_number(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("out of range")
    return value


def _node(request: HttpRequest, columns: tuple[str, ...] = enrolment.BRIEF) -> Node:
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    identity, _, secret = credential.partition(":")
    try:
        node = uuid.UUID(identity)
    except ValueError:
        raise Unauthenticated("Authorization: Node <uuid>:<secret> is needed") from None
    if scheme != "Node":
        raise Unauthenticated("Authorization: Node <uuid>:<secret> is needed")
    return enrolment.authenticate(node, secret, columns)


@_answering
def enrol(request: HttpRequest) -> dict[str, Any]:
    body = _body(request)
    try:
        node = uuid.UUID(str(body["node"]))
        secret = str(body["secret"])
    except (KeyError, TypeError, ValueError):
        raise Invalid("node and secret are needed") from None
    return enrolment.exchange(node, secret)


@_answering
def report(request: HttpRequest) -> dict[str, Any]:
    node = _node(request, enrolment.ALL_BUT_LONG)
    return dump(intake.take_report(node, load(Report, _body(request))))


@_answering
def outcomes(request: HttpRequest) -> dict[str, Any]:
    node = _node(request)
    body = _body(request)
    if not isinstance(body, dict) or not isinstance(body.get("outcomes"), list):
        raise Invalid("incarnation and outcomes are needed")
    taken = [load(Outcome, document) for document in body["outcomes"]]
    return dump(intake.take_outcomes(node, str(body.get("incarnation", "")), taken))


@_answering
def tickets(request: HttpRequest) -> dict[str, Any]:
    node = _node(request)
    body = _body(request)
    if not isinstance(body, dict):
        raise Invalid("token, peer, and blob or instance are needed")
    if body.get("instance"):
        return vouchers.instance_ticket(node, str(body.get("token")), str(body["instance"]), str(body.get("peer")))
    return vouchers.blob_ticket(node, str(body.get("token")), str(body.get("blob")), str(body.get("peer")))


@_answering
def step_secrets(request: HttpRequest, token: uuid.UUID) -> dict[str, Any]:
    return vouchers.step_secrets(_node(request), token)

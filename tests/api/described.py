"""Holds answers against the OpenAPI document: its status is said there, and its body has the shape that is promised."""

import json
import re
from functools import cache
from typing import Any

from django.urls import Resolver404, resolve
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator

from sfweb.api.answers import ANSWERS

CHECKED = ("get", "post", "put", "patch", "delete")


@cache
def document() -> dict[str, Any]:
    """As `/openapi.json` answers it."""
    made: dict[str, Any] = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True)))
    return made


@cache
def _validator(path: str, method: str, status: str) -> Draft202012Validator | None:
    """None for bytes. Raises KeyError for what is not described."""
    described = document()["paths"][path][method]["responses"][status]["content"]
    media, content = next(iter(described.items()))
    if media != "application/json":
        return None
    return Draft202012Validator({**content["schema"], "components": document()["components"]})


def address_of(path: str) -> str | None:
    """The address in the document's spelling that serves `path`; None for pages and for what is not there."""
    try:
        route = resolve(path).route
    except Resolver404:
        return None
    spelled = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
    return spelled if any(known == spelled for known, _ in ANSWERS) else None


def contradiction(method: str, path: str, answer: Any) -> str:
    """What the answer has that the document does not promise, or nothing. Django's 405 is no verb of ours."""
    address, verb = address_of(path.partition("?")[0]), method.lower()
    if address is None or (address, verb) not in ANSWERS or answer["Content-Type"].startswith("text/html"):
        return ""
    try:
        validator = _validator(address, verb, str(answer.status_code))
    except KeyError:
        return f"{method} {address}: {answer.status_code} is not described: {answer.content[:200]!r}"
    if validator is None:
        return ""
    for error in validator.iter_errors(json.loads(answer.content)):
        return f"{method} {address} {answer.status_code}: {error.json_path}: {error.message[:300]}"
    return ""

"""Our claim behind as little HTTP as there can be: `PUT /allocations/<instance>` chooses a node and claims it."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from bench.claims import make_ours

_claim = make_ours()


def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
    _claim(uuid.UUID(environment["PATH_INFO"].rpartition("/")[2]))
    start("204 No Content", [])
    return []

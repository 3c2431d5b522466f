"""Well-known images: names that stand for a URL, in a file that operators edit; read again whenever it changed.

["debian:12"]
url = "https://…/debian-12-genericcloud-amd64.qcow2"
checksums = "https://…/SHA512SUMS"        # optional: the publisher's list of sums
"""

import logging
import os
import tomllib
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from sfweb.errors import Unavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WellKnown:
    """An image that everybody may name; `checksums` may be empty."""

    name: str
    url: str
    checksums: str = ""


def find(name: str) -> WellKnown | None:
    return images().get(name)


def images() -> dict[str, WellKnown]:
    """All of them by name; none without a file. Raises Unavailable for a file that is no such list."""
    path = settings.IMAGE_CATALOGUE
    try:
        changed = os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return {}
    return _read(path, changed)


@lru_cache(maxsize=2)
def _read(path: str, changed: int) -> dict[str, WellKnown]:
    try:
        with open(path, "rb") as file:
            return {name: WellKnown(name=name, **entry) for name, entry in tomllib.load(file).items()}
    except (OSError, ValueError, TypeError) as error:
        log.exception("the catalogue of images cannot be read", extra={"path": path})
        raise Unavailable(f"the catalogue of images cannot be read: {error}") from error

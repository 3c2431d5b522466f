"""The hashes that are kept of blobs, as text."""

import re
from typing import TypeGuard

LENGTHS = {"sha1": 40, "sha256": 64, "sha512": 128, "xxh128": 32}
"""How many hexadecimal digits each has."""
_HEX = re.compile(r"[0-9a-f]+\Z")


def is_digest(text: object, algorithm: str) -> TypeGuard[str]:
    """True for text that can be a hash of that kind: so many digits, in lower case."""
    return isinstance(text, str) and len(text) == LENGTHS[algorithm] and _HEX.match(text) is not None

"""The sum of one file in a list of sums, as publishers of images put beside them (SHA512SUMS, CHECKSUM, *.sha256)."""

import re
from urllib.parse import unquote, urlsplit

from nodeagent.drivers import fetch
from nodeagent.drivers.digests import Content
from nodeagent.host import Refused, Retry

LONGEST_LIST = 2**20
BY_LENGTH = {40: "sha1", 64: "sha256", 128: "sha512"}
GNU = re.compile(r"(?P<sum>[0-9a-fA-F]{40,128})\s+[* ]?(?:\./)?(?P<name>\S+)\s*\Z")
BSD = re.compile(r"SHA\d+ \((?P<name>[^)]+)\) = (?P<sum>[0-9a-fA-F]{40,128})\s*\Z")
ALONE = re.compile(r"(?P<sum>[0-9a-fA-F]{40,128})\s*\Z")


def require_listed(content: Content, url: str, sums: str, policy: fetch.Policy) -> None:
    """Raises Refused("fetch.checksum") unless the list at `sums` has what came from `url`; Retry like any other fetch."""
    with fetch.opened(sums, policy) as opened:
        text = b""
        while len(text) <= LONGEST_LIST and (chunk := opened.read(LONGEST_LIST)):
            text += chunk
        if opened.length is not None and len(text) < min(opened.length, LONGEST_LIST):
            raise Retry("fetch.short_body", "the list of sums ended early")
    found = _find(text.decode(errors="replace"), unquote(urlsplit(url).path).rpartition("/")[2])
    if found is None:
        raise Refused("fetch.checksum", f"{sums} has no sum for this image")
    algorithm = BY_LENGTH.get(len(found))
    if algorithm is None or content.hashes[algorithm] != found.lower():
        raise Refused("fetch.checksum", f"the image is not the one that {sums} lists")


def _find(text: str, name: str) -> str | None:
    lines = [line.strip() for line in text.splitlines()]
    for line in lines:
        match = GNU.match(line) or BSD.match(line)
        if match and match["name"].rpartition("/")[2] == name:
            return match["sum"]
    only = [match["sum"] for line in lines if (match := ALONE.match(line))]
    return only[0] if len(only) == 1 else None

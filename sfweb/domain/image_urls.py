"""Which addresses an image may be fetched from, as far as the address itself shows (SE-8).

The node that fetches checks every resolved address of every hop again; this only refuses early what can be seen.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from sfweb.errors import Invalid

SCHEMES = ("http", "https")


def check_image_url(url: str, allowed: Iterable[str], parameter: str = "url") -> str:
    """Return `url`, or refuse it as Invalid. `allowed` are CIDR blocks that are fine though they are not public."""
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise Invalid(f"{parameter}: is not a URL", code="fetch.invalid") from None
    if parts.scheme not in SCHEMES or not parts.hostname or not port_is_fine or not url.isprintable() or " " in url:
        raise Invalid(f"{parameter}: must be an http or https URL", code="fetch.invalid")
    if not _is_open(parts.hostname, allowed):
        raise Invalid(f"{parameter}: images are not fetched from {parts.hostname}", code="fetch.forbidden")
    return url


def _is_open(host: str, allowed: Iterable[str]) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return not host.replace(".", "").isdigit()  # 2130706433 and 127.1 are addresses in disguise
    if address.is_global and not address.is_multicast:
        return True
    return any(address in ipaddress.ip_network(block) for block in allowed)

"""Which URLs an image may be asked for from (SE-8): what the text of the URL shows. The node checks again what it resolves to."""

import ipaddress
from urllib.parse import urlsplit

from django.conf import settings

from sfweb.errors import Invalid

MAX_URL = 1024


def check(url: str) -> str:
    """The URL, if it is http or https with a host that may be asked. Raises Invalid with code fetch.forbidden or invalid."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Invalid(f"url: {url[:100]} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL:
        raise Invalid(
            f"{url[:100]} is not a source of images: http(s)://, label:NAME, sf://label/NAMESPACE/NAME,"
            " sf://upload/NAMESPACE/NAME, sf://artifact/UUID, sf://snapshot/UUID or sf://blob/UUID",
        )
    if parts.username is not None:
        raise Invalid("url: credentials do not belong into a URL", code="fetch.forbidden")
    if host == "localhost" or _is_forbidden(host):
        raise Invalid(f"url: {host} may not be asked for images", code="fetch.forbidden")
    return url


def _is_forbidden(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    allowed = [ipaddress.ip_network(block) for block in settings.FETCH_ALLOW]
    if any(address in block for block in allowed if block.version == address.version):
        return False
    return not address.is_global or address.is_multicast

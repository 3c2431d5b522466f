"""Opening a URL for reading, for users who must not reach what only the node can reach (SE-8).

Only http and https. Every address that a name resolves to is checked, on every hop, and the connection is made to a
checked address, so that a name that changes its mind gains nothing. Redirects are followed by hand. Behind a proxy the
proxy resolves and checks; an address written into the URL is checked here all the same.
"""

import base64
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from nodeagent.host import Refused, Retry

MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
PORTS = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Policy:
    """`allow`: private ranges that may be read from all the same. `deny`: never, whatever is allowed (the underlay)."""

    allow: Sequence[Network] = ()
    deny: Sequence[Network] = ()
    proxy: str = ""

    def require(self, address: Address) -> None:
        """Raises Refused("fetch.forbidden") for an address that a user's URL must not lead to."""
        for inner in (address, *_embedded(address)):
            if any(inner in network for network in self.deny):
                raise Refused("fetch.forbidden", f"{address} belongs to the cloud itself")
            if any(inner in network for network in self.allow):
                continue
            if not inner.is_global or inner.is_multicast:
                raise Refused("fetch.forbidden", f"{address} is not a public address")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A body that can be read. `length` is in bytes, None when the server does not say; validators: etag, last_modified."""

    body: http.client.HTTPResponse
    length: int | None
    validators: dict[str, str] = field(default_factory=dict)

    def read(self, most: int) -> bytes:
        """The next bytes, empty at the end. Raises Retry when the connection breaks or falls silent."""
        try:
            return self.body.read(most)
        except (http.client.HTTPException, ssl.SSLError, ConnectionError) as error:
            raise Retry("fetch.short_body", str(error)) from error
        except TimeoutError as error:
            raise Retry("fetch.timeout", f"no byte within {READ_SECONDS:.0f} s") from error


@contextmanager
def opened(url: str, policy: Policy) -> Iterator[Opened]:
    """The body behind a user's URL. Raises Refused or Retry with the codes that actions/ensure_blob.py lists."""
    with _final(url, policy) as response:
        _judge(response)
        yield Opened(body=response, length=response.length, validators=_validators(response))


def is_changed(url: str, policy: Policy, validators: Mapping[str, str]) -> bool:
    """Whether the server has another version than the one that it gave these validators with. True where it cannot say."""
    asked = {_CONDITIONS[name]: value for name, value in validators.items() if name in _CONDITIONS}
    with _final(url, policy, asked) as response:
        if response.status == 304:
            return False
        _judge(response)
        now = _validators(response)
        return not validators or any(now.get(name) != value for name, value in validators.items())


_CONDITIONS = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}


def _validators(response: http.client.HTTPResponse) -> dict[str, str]:
    found = {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}
    return {name: text for name, text in found.items() if text and len(text) <= 256 and text.isprintable()}


@contextmanager
def _final(url: str, policy: Policy, more: Mapping[str, str] | None = None) -> Iterator[http.client.HTTPResponse]:
    """The answer at the end of the redirects, each of which is checked."""
    for _ in range(MAX_REDIRECTS + 1):
        with _requested(_parsed(url), policy, more or {}) as response:
            if response.status not in REDIRECTS:
                yield response
                return
            url = urljoin(url, response.headers.get("Location", ""))
    raise Refused("fetch.redirects", f"more than {MAX_REDIRECTS} redirects")


@contextmanager
def opened_from_peer(url: str, ticket: str) -> Iterator[Opened]:
    """The body that another node serves for a ticket (SE-5). The control plane named the node, so no policy applies."""
    parts = urlsplit(url)
    connection = _Connection(parts.hostname or "", parts.port or 80, parts.hostname or "")
    headers = {"Authorization": f"Bearer {ticket}"}
    with _answered(connection, f"{parts.path}?{parts.query}".rstrip("?"), headers) as response:
        if response.status != 200:
            raise Retry("fetch.peer", f"the peer answered {response.status}")
        yield Opened(body=response, length=response.length)


def _embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that an IPv6 one leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in PORTS and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(ord(character) <= 32 for character in url):
        raise Refused("fetch.bad_url", "an http or https URL without user name is needed")
    return parts


@contextmanager
def _requested(parts: SplitResult, policy: Policy, more: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    headers = dict(more)
    if policy.proxy:
        _require_literal(host, policy)
        connection = _through_proxy(parts, host, port, policy.proxy)
        if parts.scheme == "http":
            target = parts._replace(fragment="").geturl()
            headers |= _credentials(policy.proxy)
    else:
        address = _checked_address(host, port, policy)
        connection = (_SecureConnection if parts.scheme == "https" else _Connection)(host, port, address)
    with _answered(connection, target, headers) as response:
        yield response


@contextmanager
def _answered(
    connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]
) -> Iterator[http.client.HTTPResponse]:
    try:
        response = _ask(connection, target, headers)
        try:
            yield response
        finally:
            response.close()
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    try:
        connection.request(
            "GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "steadyfist", **headers}
        )
        return connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise Refused("fetch.tls", str(error)) from error
    except TimeoutError as error:
        raise Retry("fetch.timeout", str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Retry("fetch.connect", str(error)) from error


def _checked_address(host: str, port: int, policy: Policy) -> str:
    """One address of the host, after all of them passed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Retry("fetch.dns", f"{host}: {error}") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for address in addresses:
        policy.require(ipaddress.ip_address(address))
    return addresses[0]


def _require_literal(host: str, policy: Policy) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    policy.require(address)


def _through_proxy(parts: SplitResult, host: str, port: int, proxy: str) -> http.client.HTTPConnection:
    way = urlsplit(proxy)
    address = way.hostname or ""
    if parts.scheme == "http":
        return _Connection(address, way.port or 80, address)
    connection = _SecureConnection(address, way.port or 80, address)
    connection.set_tunnel(host, port, headers=_credentials(proxy))
    return connection


def _credentials(proxy: str) -> dict[str, str]:
    way = urlsplit(proxy)
    if way.username is None:
        return {}
    pair = f"{unquote(way.username)}:{unquote(way.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _judge(response: http.client.HTTPResponse) -> None:
    status = response.status
    if status == 200:
        return
    if status in (404, 410):
        raise Refused("fetch.not_found", f"the server answered {status}")
    if status in (408, 429):
        raise Retry("fetch.busy", f"the server answered {status}", after=_pause(response))
    if status >= 500:
        raise Retry("fetch.server", f"the server answered {status}", after=_pause(response))
    raise Refused("fetch.denied", f"the server answered {status}")


def _pause(response: http.client.HTTPResponse) -> float | None:
    """What Retry-After asks for in seconds, at most ten minutes; a date in it is left alone."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 600.0) if text.isdigit() else None


class _Connection(http.client.HTTPConnection):
    """Speaks to `host` at one address that was checked."""

    def __init__(self, host: str, port: int, address: str) -> None:
        super().__init__(host, port, timeout=READ_SECONDS)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), CONNECT_SECONDS)
        self.sock.settimeout(READ_SECONDS)
        if self._tunnel_host:  # type: ignore[attr-defined]
            self._tunnel()  # type: ignore[attr-defined]


class _SecureConnection(_Connection):
    """The certificate must fit the host's name, whatever address it was reached at."""

    def connect(self) -> None:
        super().connect()
        name = self._tunnel_host or self.host  # type: ignore[attr-defined]
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=name)

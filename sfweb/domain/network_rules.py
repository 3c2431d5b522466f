"""From what a caller asked for to a network that may be requested."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from sfweb.domain.callers import Caller
from sfweb.domain.names import check_hostname
from sfweb.domain.specs import NewNetwork
from sfweb.errors import Invalid, NotFound, Unauthenticated
from sfweb.models import Namespace
from sfweb.models.state import State

SMALLEST_PREFIX = 29
LARGEST_PREFIX = 8
CIDR = re.compile(r"[0-9.]{7,15}/[0-9]{1,2}\Z")


def new_network(caller: Caller, wanted: Mapping[str, Any]) -> NewNetwork:
    """The checked wish. A foreign namespace is for `system` only; others are answered 401, as is the public interface's way."""
    name = wanted.get("namespace", caller.namespace)
    if name != caller.namespace and not caller.is_system:
        raise Unauthenticated("only admins can create networks in a different namespace", code="foreign_namespace")
    if not Namespace.objects.filter(name=name, state=State.CREATED).exists():
        raise NotFound(f"namespace not found: {name}")
    return NewNetwork(
        name=check_hostname(wanted["name"]),
        namespace=name,
        netblock=str(check_netblock(wanted["netblock"])),
        provide_dhcp=wanted.get("provide_dhcp", True),
        provide_nat=wanted.get("provide_nat", True),
        provide_dns=wanted.get("provide_dns", False),
    )


def check_netblock(text: str, parameter: str = "netblock") -> ipaddress.IPv4Network:
    """A strict IPv4 block: address and prefix length, no host bits, /8 to /29, of unicast addresses."""
    if not CIDR.match(text):
        raise Invalid(f"{parameter}: must be an IPv4 address, a slash and a prefix length")
    try:
        block = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise Invalid(f"{parameter}: {error}") from None
    if not LARGEST_PREFIX <= block.prefixlen <= SMALLEST_PREFIX:
        raise Invalid(f"{parameter}: must be /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}")
    if block.is_multicast or block.is_loopback or block.is_link_local or block.is_unspecified or block.is_reserved:
        raise Invalid(f"{parameter}: must be unicast addresses")
    return block

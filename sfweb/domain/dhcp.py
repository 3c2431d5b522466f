"""DHCP leases as rows: what a carrier's resolver has given out, so that another carrier could answer a renewal (CM-10)."""

import datetime
import ipaddress
import re
import uuid
from collections.abc import Iterable
from typing import Any

from sfweb.models import CarrierLease, DhcpLease, Node
from sfweb.models.fields import UtcNow

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
NAME = re.compile(r"[A-Za-z0-9-]{0,63}\Z")


def take_leases(node: Node, reported: Iterable[Any]) -> int:
    """Store the leases of networks that the node carries and leave out whatever else it claims (SE-4); how many were taken."""
    carried = set(CarrierLease.objects.filter(node=node).values_list("network_id", flat=True))
    rows = [row for row in map(_row, reported) if row is not None and row.network_id in carried]
    DhcpLease.objects.filter(network_id__in=carried, expires_at__lt=UtcNow()).delete()
    columns = ["address", "hostname", "expires_at"]
    DhcpLease.objects.bulk_create(rows, batch_size=500, update_conflicts=True, update_fields=columns)
    return len(rows)


def _row(claim: Any) -> DhcpLease | None:
    """One reported lease, or None when it is not well formed."""
    try:
        mac, name, expires = str(claim["mac"]), str(claim["name"]), int(claim["expires"])
        row = DhcpLease(
            network_id=uuid.UUID(str(claim["network"])),
            mac=mac,
            address=str(ipaddress.IPv4Address(str(claim["address"]))),
            hostname=name,
            expires_at=datetime.datetime.fromtimestamp(expires, datetime.UTC),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    return row if MAC.match(mac) and NAME.match(name) else None

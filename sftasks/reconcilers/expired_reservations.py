"""Gives room back that was claimed for an instance which nothing makes any more: the backstop of a crash (SC-32).

A claim and the operation that stands for it come and go in one transaction each, so this finds nothing unless rows were
lost. A claim is renewed while an operation on its instance is open, and kept while a node may hold the guest.
"""

from uuid import UUID

from sftasks import attachment
from sfweb.domain import pending, reservations
from sfweb.domain.transactions import durable
from sfweb.models import Instance


def run() -> dict[str, int]:
    expired = reservations.expired()
    making = pending.pending_among("instance", [instance for _, instance in expired])
    renewed = reservations.renew(making)
    lapsed = [(row, instance) for row, instance in expired if instance not in making]
    return {"renewed": renewed, "expired": sum(_expire(row, instance) for row, instance in lapsed)}


@durable
def _expire(reservation: UUID, identity: UUID) -> int:
    """Under its instance's lock, and once more looked at."""
    instance = Instance.objects.select_for_update().get(pk=identity)
    if pending.is_pending("instance", identity) or attachment.may_be_held(instance):
        reservations.renew([identity])
        return 0
    return int(reservations.expire(reservation))

"""Tickets to an instance's console: one use, one minute, bound to the instance and to the serial line or the screen (SE-15).

A ticket, and the connection that it opened, are good for as long as the key that asked for it.
"""

import hashlib
import secrets

from sfweb.domain import events
from sfweb.domain.callers import Caller
from sfweb.domain.keys import prove_nonce
from sfweb.domain.transactions import durable
from sfweb.errors import NotReady, Unauthenticated
from sfweb.models import ConsoleTicket, Instance
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import State

TICKET_SECONDS = 60.0


@durable
def issue(caller: Caller, instance: Instance, purpose: str = "console") -> str:
    """A new ticket. Raises NotReady for an instance that has no console now."""
    if instance.state != State.CREATED or instance.node_id is None or instance.console_port is None:
        raise NotReady(f"instance {instance.name} is {instance.state}")
    text = secrets.token_urlsafe(32)
    ConsoleTicket.objects.create(
        digest=_digest(text),
        purpose=purpose,
        instance=instance,
        issued_to=str(caller)[:128],
        nonce=caller.nonce,
        expires_at=FromNow(TICKET_SECONDS),
    )
    return text


@durable
def redeem(text: str, purpose: str = "console") -> ConsoleTicket:
    """The ticket, with the instance that it opens; a second try, a late one and a made-up one raise Unauthenticated.

    Who keeps what it opened asks `may_stay` now and then.
    """
    good = ConsoleTicket.objects.filter(
        digest=_digest(text), purpose=purpose, used_at__isnull=True, expires_at__gt=UtcNow()
    )
    if good.update(used_at=UtcNow()) != 1:
        raise Unauthenticated("the console ticket is wrong, used or too old")
    ticket = ConsoleTicket.objects.select_related("instance__node__credential").get(digest=_digest(text))
    instance = ticket.instance
    if instance.state != State.CREATED or instance.node is None:
        raise Unauthenticated("the instance has no console any more")
    _prove(ticket)
    events.record("audit", f"{purpose} opened", [("instance", instance.pk)], extra={"by": ticket.issued_to})
    return ticket


def may_stay(ticket: ConsoleTicket) -> bool:
    """Whether what the ticket opened may stay open: its instance and its key are still there, the key unchanged."""
    try:
        _prove(ticket)
    except Unauthenticated:
        return False
    return Instance.objects.filter(pk=ticket.instance_id, state=State.CREATED).exists()


def _prove(ticket: ConsoleTicket) -> None:
    """Raises Unauthenticated when the key that asked for the ticket is gone, expired or changed."""
    if ticket.nonce:
        namespace, _, name = ticket.issued_to.partition("/")
        prove_nonce(namespace, name, ticket.nonce)


def reap() -> int:
    """Forget tickets that nobody can use any more."""
    return ConsoleTicket.objects.filter(expires_at__lt=FromNow(-3600)).delete()[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

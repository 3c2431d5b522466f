"""How a host becomes a node: an operator prints one line, the agent exchanges its secret once for an identity (EN-12).

Secrets are stored as SHA-256 digests: they are 256 random bits, so a slow hash would protect nothing more.
"""

import hashlib
import hmac
import logging
import secrets
import uuid
from typing import Any

import redis
from django.conf import settings

from sfweb.domain import broker_users, capacity, node_life
from sfweb.domain.node_rows import with_credentials
from sfweb.domain.transactions import durable
from sfweb.errors import Conflict, Gone, Unauthenticated
from sfweb.models import Node, NodeCredential
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import State

log = logging.getLogger(__name__)
REPORTED_LATELY_SECONDS = 120.0
BRIEF = ("uuid", "name", "state")
ALL_BUT_LONG = tuple(f.name for f in Node._meta.concrete_fields if f.name not in ("facts", "inventory"))
"""Columns of a node that are read at its calls; the others where somebody asks for them."""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def enrol(name: str, *, replace: bool = False, returned: bool = False) -> str:
    """Make the node's row, or rotate its credential; returns the line `sf1:<control addresses>:<node uuid>:<secret>`.

    With BROKER_ADMIN_URL the node's user at the broker is made too, or given its new password (SE-1).
    Raises Conflict when the node's present credential reported within two minutes, unless `replace`, and for the name of a
    deleted node, unless it has `returned`: then it is missing until it has taken away what was rebuilt elsewhere (EN-12).
    """
    node, signing_key, secret = _issue(name, replace, returned)
    if broker_users.is_used():
        _make_broker_user(node, signing_key)
    return f"sf1:{','.join(settings.INTERNAL_ADDRESSES)}:{node}:{secret}"


def _make_broker_user(node: uuid.UUID, signing_key: str) -> None:
    """A broker that is away keeps nobody from enrolling: the reconciler `broker_users` makes up for it."""
    try:
        broker_users.ensure([(node, signing_key)])
    except redis.RedisError as error:
        log.warning("the node's user at the broker is made later", extra={"node": str(node), "error": str(error)})


@durable
def _issue(name: str, replace: bool, returned: bool) -> tuple[uuid.UUID, str, str]:
    """The node's row with a new signing key and enrolment secret; (node, signing key, secret)."""
    secret = secrets.token_urlsafe(32)
    node, created = Node.objects.get_or_create(name=name)
    fresh: dict[str, Any] = {}
    if node.state == State.DELETED:
        if not returned:
            message = f"{name} is the name of a deleted node: choose another, or say that it has returned"
            raise Conflict(message, code="node.deleted")
        node_life.come_back(node)
        fresh = {"incarnation": None, "seen_incarnation": None}
    lately = FromNow(-REPORTED_LATELY_SECONDS * settings.TIME_SCALE)
    if not replace and Node.objects.filter(pk=node.pk, last_seen__gt=lately).exists():
        raise Conflict(f"{name} reported a moment ago; use --replace to take its identity away", code="node.alive")
    capacity.make(node)
    signing_key = secrets.token_hex(32)
    values = {"enrolment_digest": digest(secret), "signing_key": signing_key, "issued_at": UtcNow(), **fresh}
    if created:
        NodeCredential.objects.create(node=node, **values)
    else:
        NodeCredential.objects.update_or_create(node=node, defaults={**values, "secret_digest": None})
    return node.pk, signing_key, secret


@durable
def exchange(node: uuid.UUID, secret: str) -> dict[str, Any]:
    """The identity for a one-time secret. Raises Unauthenticated for a wrong or used one."""
    row = NodeCredential.objects.select_for_update().select_related("node").filter(node_id=node).first()
    if row is None or row.enrolment_digest is None or not hmac.compare_digest(row.enrolment_digest, digest(secret)):
        raise Unauthenticated("the enrolment secret is wrong or was used already")
    own = secrets.token_urlsafe(32)
    NodeCredential.objects.filter(pk=row.pk).update(
        enrolment_digest=None, secret_digest=digest(own), issued_at=UtcNow()
    )
    return {
        "node": str(node),
        "name": row.node.name,
        "secret": own,
        "signing_key": row.signing_key,
        "broker_url": broker_users.url(node, row.signing_key),
        "control": settings.INTERNAL_ADDRESSES,
    }


def authenticate(node: uuid.UUID, secret: str, columns: tuple[str, ...] = BRIEF) -> Node:
    """The node whose secret this is. Raises Unauthenticated, or Gone for a node that was deleted."""
    row = next(iter(with_credentials([node], columns)), None)
    if row is None or row.secret_digest is None or not hmac.compare_digest(row.secret_digest, digest(secret)):
        raise Unauthenticated("unknown node or wrong secret")
    if row.state == State.DELETED:
        raise Gone(f"node {row.name} was deleted")
    found: Node = row
    return found

"""One Redis user a node, that reads the node's own two queues and nothing else (SE-1). Only with BROKER_ADMIN_URL.

Redis forgets users that were made at run time when it restarts, so the password is derived from the node's signing key,
and `ensure` can make the same user again at any time. Without BROKER_ADMIN_URL all nodes share NODE_BROKER_URL's user.
"""

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import redis
from django.conf import settings

TIMEOUT_SECONDS = 5.0
# Scripts too, for the lock on the unacknowledged messages: what they do is held to the same rules.
SCRIPTS = ("+eval", "+evalsha", "+script|load")
COMMANDS = ("-@all", "+@connection", "+@read", "+@write", "+@transaction", "+publish", "+time", "-@dangerous", *SCRIPTS)


def is_used() -> bool:
    return bool(settings.BROKER_ADMIN_URL)


def name(node: UUID) -> str:
    return f"node.{node}"


def password(signing_key: str) -> str:
    """A purpose of its own for the key: who learns this cannot sign."""
    return hmac.new(signing_key.encode(), b"the node's password at the broker", hashlib.sha256).hexdigest()


def url(node: UUID, signing_key: str) -> str:
    """The broker as this node is to reach it."""
    if not is_used():
        return str(settings.NODE_BROKER_URL)
    parts = urlsplit(settings.NODE_BROKER_URL)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{name(node)}:{password(signing_key)}@{place}"))


def rules(node: UUID, signing_key: str) -> list[str]:
    """Access rules that allow what Celery's worker does for its queues, and events towards flower."""
    own = (name(node), f"{name(node)}.bulk")
    keys = [*own, *(f"{queue}:*" for queue in own)]
    keys += [f"_kombu.binding{kind}.{queue}" for queue in own for kind in ("", "_permanent")]
    granted = [f"~{key}" for key in keys]
    return ["reset", "on", f">{password(signing_key)}", *granted, "resetchannels", "&/*.celeryev/*", *COMMANDS]


def ensure(keys: Iterable[tuple[UUID, str]]) -> int:
    """Make or renew the users of these nodes (uuid, signing key). Raises redis.RedisError when the broker does not answer."""
    with _administrator() as broker:
        users = [broker.execute_command("ACL", "SETUSER", name(node), *rules(node, key)) for node, key in keys]
    return len(users)


def remove(nodes: Iterable[UUID]) -> int:
    """Take away the users of these nodes, and end their connections; how many there were."""
    names = [name(node) for node in nodes]
    if not names:
        return 0
    with _administrator() as broker:
        return int(broker.execute_command("ACL", "DELUSER", *names))


def _administrator() -> redis.Redis:
    return redis.Redis.from_url(
        settings.BROKER_ADMIN_URL, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )

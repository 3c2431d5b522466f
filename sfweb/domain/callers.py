"""Who asks: a namespace with one of its keys, or the cluster itself."""

import uuid
from dataclasses import dataclass, field

from sfweb.models import Namespace, Trust
from sfweb.models.namespace import SYSTEM


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated caller. `scopes` null means all that the namespace may do; `request_id` goes into every event.

    nonce  of the key that was proven: what outlives the request remembers it, and ends when the key gets another
    in_background  asks because a clock says so: what people wait for goes first
    """

    namespace: str
    namespace_uuid: uuid.UUID | None
    key_name: str = ""
    scopes: tuple[str, ...] | None = None
    request_id: str = ""
    nonce: str = field(default="", repr=False)
    in_background: bool = False

    @property
    def is_system(self) -> bool:
        return self.namespace == SYSTEM

    def __str__(self) -> str:
        return f"{self.namespace}/{self.key_name}" if self.key_name else self.namespace


CLUSTER = Caller(namespace=SYSTEM, namespace_uuid=None, key_name="(cluster)")
"""The clock and the operator's commands: what the cluster does by itself."""


def is_trusted_by(caller: Caller, namespace: Namespace) -> bool:
    """True when the caller may act on `namespace`: its own, or one that trusts it."""
    if caller.is_system or caller.namespace_uuid == namespace.uuid:
        return True
    return Trust.objects.filter(namespace=namespace, trusted_id=caller.namespace_uuid).exists()

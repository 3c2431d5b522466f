"""Nodes with their credentials, by one statement: every call of a node and every step that is sent to one begins with it."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sfweb.domain.rows import select
from sfweb.models import Node, NodeCredential

_CREDENTIAL = ("secret_digest", "signing_key", "incarnation", "seen_incarnation")
_BESIDE = tuple((name, f"secret.{name}") for name in _CREDENTIAL)
_THOSE = "JOIN node_credentials secret ON secret.node_id = nodes.uuid WHERE nodes.uuid IN %s"


def with_credentials(
    nodes: Collection[UUID],
    only: tuple[str, ...],
    also: tuple[tuple[str, str], ...] = (),
    values: Sequence[Any] = (),
) -> list[Any]:
    """Those that there are, each with its `credential`. Columns and expressions as of `rows.select`, with the latters' values."""
    found: list[Any] = select(Node, _THOSE, [*values, [str(node) for node in nodes]], only=only, also=(*_BESIDE, *also))
    for row in found:
        row.credential = NodeCredential(**{name: getattr(row, name) for name in _CREDENTIAL})
    return found

"""What a key may be narrowed to: names of rights, and which of them cover which (AU-12, AU-13).

A scope is `<family>.<verb>`, `<family>.*`, or `cluster-admin`, which no wildcard of a family yields. A key without scopes
may do all that its namespace may.
"""

from collections.abc import Iterable, Sequence

from sfweb.errors import Invalid

FAMILIES = (
    "admin",
    "agentoperation",
    "artifact",
    "auth",
    "blob",
    "clusteroperation",
    "instance",
    "interface",
    "label",
    "network",
    "node",
    "recurringoperation",
    "upload",
)
VERBS = ("read", "write", "delete")
SPECIAL = ("auth.trust", "instance.console", "instance.power")
"""Rights that a family's `write` does not include: they reach further, or are wanted alone."""
CLUSTER_ADMIN = "cluster-admin"
EVERYTHING = "*"
MOST = 64

KNOWN = frozenset(
    (EVERYTHING, CLUSTER_ADMIN, *SPECIAL, *(f"{family}.{verb}" for family in FAMILIES for verb in (*VERBS, "*")))
)
Held = Sequence[str] | None


def check_scopes(wanted: Sequence[str]) -> tuple[str, ...]:
    """The scopes sorted, each once. Raises Invalid for none at all and for one that does not exist."""
    if not 0 < len(wanted) <= MOST:
        raise Invalid(f"scopes: must be 1 to {MOST} scopes")
    for scope in wanted:
        if scope not in KNOWN:
            raise Invalid(f"scopes: there is no scope {scope}", details={"known": sorted(KNOWN)})
    return tuple(sorted(set(wanted)))


def covers(held: Held, scope: str) -> bool:
    """True when who holds `held` may do what `scope` names. A family's wildcard is that of the whole word before the dot."""
    if held is None or EVERYTHING in held or scope in held:
        return True
    family, dot, _ = scope.partition(".")
    return bool(dot) and f"{family}.*" in held


def covers_all(held: Held, wanted: Iterable[str] | None) -> bool:
    """True when a key with `held` may hand out `wanted`; null is everything."""
    if wanted is None:
        return covers(held, EVERYTHING)
    return all(covers(held, scope) for scope in wanted)

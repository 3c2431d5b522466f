"""What can be wrong with a request, without any HTTP in it. `code` is stable and belongs to the interface."""

from collections.abc import Mapping
from typing import Any


class SteadyfistError(Exception):
    """Base of all refusals that a caller can be told. `details` is plain JSON."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.details = dict(details or {})


class Invalid(SteadyfistError):
    code = "invalid"


class NotFound(SteadyfistError):
    code = "not_found"


class Unauthenticated(SteadyfistError):
    code = "unauthenticated"


class Forbidden(SteadyfistError):
    code = "forbidden"


class Conflict(SteadyfistError):
    code = "conflict"


class StateConflict(Conflict):
    """A row was not in the state that the change needs; somebody else moved it first."""

    code = "state_conflict"


class NotReady(SteadyfistError):
    """Something this request builds on is not finished yet; the client waits and asks again."""

    code = "not_ready"


class NoCapacity(SteadyfistError):
    """`details.stage` names what ran out; `transient` says whether waiting can help (SC-20)."""

    code = "no_capacity"

    def __init__(
        self, message: str, *, stage: str = "", transient: bool = False, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, details={**(details or {}), **({"stage": stage} if stage else {})})
        self.stage = stage
        self.transient = transient


class PoolExhausted(NoCapacity):
    code = "pool_exhausted"


class LimitReached(NoCapacity):
    """A namespace has as much as it may have; `details` says how much that is (SE-12)."""

    code = "namespace_limit"


class OperationFailed(SteadyfistError):
    """What the answer waited for could not be done; the operation that `details` names says why."""


class Gone(SteadyfistError):
    code = "gone"


class Unavailable(SteadyfistError):
    """The database or another part cannot be reached: never to be read as "not found" (HC-22)."""

    code = "unavailable"

"""How an action is declared and found.

An action is one module in `nodeagent/actions/`: a frozen `Request`, a `run(request, host, call)` and one `ACTION`. `run`
looks, compares, acts and says what it changed. Discovery is by name: the module is the action.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from nodeagent.host import Call, Host


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `run` returns: the change word and facts for the control plane."""

    change: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action's contract.

    once         its effect must not be repeated blindly (EN-8)
    bulk         runs in the node's bulk worker, beside everything quick
    max_seconds  ceiling after which the control plane asks for cancellation (EN-4)
    refusals     the codes it may refuse with; any other refusal is treated as unknown
    retries      how many transient failures in a row before it counts as refused
    backoff      seconds before each retry, the last for all further ones; each wait is an event on the objects (FR-2)
    """

    name: str
    version: int
    request: type
    run: Callable[[Any, Host, Call], Result]
    once: bool = False
    bulk: bool = False
    max_seconds: float = 60.0
    refusals: frozenset[str] = frozenset()
    retries: int = 6
    backoff: tuple[float, ...] = ()
    wanted: str = "present"


@cache
def actions() -> Mapping[str, Action]:
    """Every action by name."""
    import nodeagent.actions as package

    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)
    ]
    return {module.ACTION.name: module.ACTION for module in modules}

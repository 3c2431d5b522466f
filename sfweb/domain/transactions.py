"""The one way to open a transaction: outermost, short, and run again when the database asks for it (EN-19, BY-17).

What many places of one transaction have to say can be handed over (`together`) and is written at its end, all at once.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

P = ParamSpec("P")
T = TypeVar("T")

DEADLOCK, LOCK_WAIT, SNAPSHOT_TOO_OLD = 1213, 1205, 1020
CONNECTION_LOST = (2006, 2013)
RETRYABLE = (DEADLOCK, LOCK_WAIT, SNAPSHOT_TOO_OLD, *CONNECTION_LOST)
ATTEMPTS = 5


_witness: ContextVar[Callable[[Any], None] | None] = ContextVar("witness", default=None)
_handed_over: ContextVar[dict[Callable[[Sequence[Any]], None], list[Any]] | None] = ContextVar(
    "handed over", default=None
)


class Again(Exception):
    """Raised inside a durable transaction that lost a race it would win by reading the rows once more."""


def durable(function: Callable[P, T]) -> Callable[P, T]:
    """Run `function` in an outermost transaction; up to five times on deadlock, lost connection or `Again`.

    Django refuses to nest it (RuntimeError): a retry in the middle of somebody else's transaction would repeat nothing,
    since a deadlock has rolled back all of it.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        witness = _witness.get()
        for attempt in range(1, ATTEMPTS + 1):
            _witness.set(witness)
            try:
                with transaction.atomic(durable=True):
                    with _written_at_the_end():
                        result = function(*args, **kwargs)
                        _testify(result)
                    return result
            except Again:
                if attempt == ATTEMPTS:
                    raise
            except OperationalError as error:
                if attempt == ATTEMPTS or not error.args or error.args[0] not in RETRYABLE:
                    raise
                if error.args[0] in CONNECTION_LOST:
                    connection.close()
            time.sleep(random.uniform(0.002, 0.02) * attempt * attempt)
        raise AssertionError("unreachable")

    return run


def together(write: Callable[[Sequence[T]], None], items: Sequence[T]) -> None:
    """Let `write` have the items with all others that it gets in this durable transaction, at its end; without one, now."""
    waiting = _handed_over.get()
    if waiting is None:
        write(items)
    else:
        waiting.setdefault(write, []).extend(items)


@contextmanager
def part() -> Iterator[None]:
    """A part of a durable transaction that can fail by itself: then nothing of it is left, nor of what it handed over."""
    waiting = _handed_over.get()
    if waiting is None:
        waiting = {}
    before = {write: len(items) for write, items in waiting.items()}
    try:
        with transaction.atomic():
            yield
    except BaseException:
        for write, items in waiting.items():
            del items[before.get(write, 0) :]
        raise


@contextmanager
def _written_at_the_end() -> Iterator[None]:
    waiting: dict[Callable[[Sequence[Any]], None], list[Any]] = {}
    outside = _handed_over.set(waiting)
    try:
        yield
    finally:
        _handed_over.reset(outside)
    for write, items in waiting.items():
        if items:  # a part that failed may have left none
            write(items)


@contextmanager
def witnessed(by: Callable[[Any], None]) -> Iterator[None]:
    """Within, the first durable transaction calls `by` with its result before it commits; what `by` raises undoes it."""
    before = _witness.set(by)
    try:
        yield
    finally:
        _witness.reset(before)


def _testify(result: Any) -> None:
    """Once: what runs after the commit, and later transactions, are none of the witness's business."""
    witness = _witness.get()
    if witness is not None:
        witness(result)
        _witness.set(None)


def is_duplicate(error: Exception) -> bool:
    """True for MariaDB's 1062: a unique column refused."""
    return bool(error.args) and error.args[0] == 1062

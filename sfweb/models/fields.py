"""Columns and database clock that all models share.

Every comparison of times happens in SQL against the database's own clock (EN-16), so the moments here are expressions,
never values computed in Python.
"""

import datetime
import uuid
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models.expressions import Func


class UtcNow(Func):
    """The database's clock, in microseconds, at the start of the statement."""

    template = "UTC_TIMESTAMP(6)"
    arity = 0

    def __init__(self) -> None:
        super().__init__(output_field=models.DateTimeField())


class FromNow(Func):
    """The database's clock shifted by a number of seconds, which may be negative."""

    arity = 0

    def __init__(self, seconds: float) -> None:
        super().__init__(output_field=models.DateTimeField())
        self.template = f"UTC_TIMESTAMP(6) + INTERVAL {int(seconds * 1_000_000)} MICROSECOND"

    @property
    def identity(self) -> tuple[Any, ...]:  # two shifts are equal only when they shift alike
        return (self.__class__, self.template)


class FreeShare(Func):
    """What is free of the scarcest of CPUs, memory and disk, a double: of a table with `used_*` and `limit_*`."""

    _SHARES = (f"1 - used_{name} * 1e0 / GREATEST(limit_{name}, 1)" for name in ("cpus", "memory_mb", "disk_gb"))
    template = f"LEAST({', '.join(_SHARES)})"
    arity = 0

    def __init__(self) -> None:
        super().__init__(output_field=models.FloatField())


def database_now() -> datetime.datetime:
    """The database's clock, fetched."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        now: datetime.datetime = cursor.fetchone()[0]
    return now.replace(tzinfo=datetime.UTC)


class NameField(models.CharField):
    """Text compared byte by byte, trailing spaces included: names, tokens, keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 64)
        kwargs.setdefault("db_collation", "utf8mb4_nopad_bin")
        super().__init__(*args, **kwargs)


class CreatedField(models.DateTimeField):
    """The moment of insertion, by the database's clock."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("db_default", UtcNow())
        super().__init__(*args, **kwargs)


class Among(models.Lookup):  # type: ignore[type-arg]
    """`column__among=keys`: as `in`, for many; Django takes longer to prepare a thousand than MariaDB to find them."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        if not self.rhs:
            raise EmptyResultSet
        if not all(
            type(key) in (uuid.UUID, int) for key in self.rhs
        ):  # they are written into the statement as they are
            raise TypeError("among: identifiers and numbers only")
        column, params = self.process_lhs(compiler, connection)
        keys = ", ".join(f"'{key}'" for key in self.rhs)
        return f"{column} IN ({keys})", list(params)


for kind in (models.UUIDField, models.ForeignKey, models.BigAutoField):
    kind.register_lookup(Among)

"""Rows in and out by one written-out statement: Django needs longer to write most of them than MariaDB to run them."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import IntegrityError, connection, models
from django.db.models.expressions import DatabaseDefault

from sfweb.domain.transactions import is_duplicate
from sfweb.models.fields import FromNow, UtcNow

Row = TypeVar("Row", bound=models.Model)


def insert(rows: Sequence[models.Model]) -> None:
    """Insert rows of one model. What the database fills in is read from it when it is asked for."""
    if not rows:
        return
    model = type(rows[0])
    fields = _fields(model)
    values: list[Any] = []
    lines = [", ".join(_value(row, field, values) for field in fields) for row in rows]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    text = f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({'), ('.join(lines)})"
    with connection.cursor() as cursor:
        cursor.execute(text, values)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias
        for field in fields:
            if isinstance(row.__dict__.get(field.attname), DatabaseDefault):
                del row.__dict__[field.attname]


def insert_unless_taken(row: models.Model) -> bool:
    """Insert one row; False when a unique column refuses it.

    MariaDB undoes only the refused statement, so the transaction goes on without a savepoint.
    """
    return insert_all_unless_taken([row])


def insert_all_unless_taken(rows: Sequence[models.Model]) -> bool:
    """Insert rows of one model; False, and none is there, when a unique column refuses one of them."""
    try:
        insert(rows)
    except IntegrityError as error:
        if is_duplicate(error):
            return False
        raise
    return True


def select(
    model: type[Row],
    rest: str,
    values: Sequence[Any],
    *,
    only: tuple[str, ...] = (),
    also: tuple[tuple[str, str], ...] = (),
) -> list[Row]:
    """Rows of one model; `rest` of the statement is what follows the table's name.

    only  the columns, if not all
    also  (attribute, expression) of what each row gets besides; their values come before those of `rest`
    """
    names, columns, readers = _reading(model, only)
    wanted = ", ".join([columns, *(expression for _, expression in also)])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {wanted} FROM {model._meta.db_table} {rest}", values)
        found = cursor.fetchall()
    rows = []
    for line in found:
        cells = list(line[: len(names)])
        for at, column, read in readers:
            cells[at] = read(cells[at], column, connection)
        row = model.from_db(connection.alias, names, cells)
        for (name, _), value in zip(also, line[len(names) :], strict=True):
            setattr(row, name, value)
        rows.append(row)
    return rows


@cache
def _reading(model: type[models.Model], only: tuple[str, ...]) -> tuple[list[str], str, list[tuple[int, Any, Any]]]:
    """(attributes, columns, what makes Python's value of a column's), as Django's own queries would."""
    fields = [field for field in model._meta.concrete_fields if not only or field.name in only]
    table = model._meta.db_table
    readers = [
        (at, column, read)
        for at, field in enumerate(fields)
        for column in [field.get_col(table)]
        for read in (*connection.ops.get_db_converters(column), *field.get_db_converters(connection))
    ]
    columns = ", ".join(f"{table}.{connection.ops.quote_name(str(field.column))}" for field in fields)
    return [field.attname for field in fields], columns, readers


@cache
def _fields(model: type[models.Model]) -> "tuple[models.Field[Any, Any], ...]":
    """All columns but the number that the database counts up."""
    return tuple(field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField))


def _value(row: models.Model, field: "models.Field[Any, Any]", values: list[Any]) -> str:
    value = getattr(row, field.attname)
    if isinstance(value, DatabaseDefault):
        return "DEFAULT"
    if isinstance(value, UtcNow | FromNow):
        return value.template
    values.append(field.get_db_prep_save(value, connection))
    return "%s"

"""Rows in and out by one written-out statement: Django needs longer to write most of them than MariaDB to run them."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import IntegrityError, connection, models
from django.db.models.expressions import DatabaseDefault

from sfweb.domain.transactions import is_duplicate
from sfweb.models.fields import FromNow, UtcNow

Row = TypeVar("Row", bound=models.Model)
Other = TypeVar("Other", bound=models.Model)


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
    width, columns, make = _reading(model, only)
    wanted = ", ".join([columns, *(expression for _, expression in also)])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {wanted} FROM {model._meta.db_table} {rest}", values)
        found = cursor.fetchall()
    rows = []
    for line in found:
        row = make(line[:width])
        for (name, _), value in zip(also, line[width:], strict=True):
            setattr(row, name, value)
        rows.append(row)
    return rows


def select_with(
    model: type[Row], other: type[Other], rest: str, values: Sequence[Any]
) -> list[tuple[Row, list[Other]]]:
    """Rows of one model, each with those of another that `rest` joins to it (LEFT JOIN: there may be none)."""
    width, columns, make = _reading(model, ())
    _, others, make_other = _reading(other, ())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns}, {others} FROM {model._meta.db_table} {rest}", values)
        found = cursor.fetchall()
    rows: dict[Any, tuple[Row, list[Other]]] = {}
    for line in found:
        row = make(line[:width])
        beside = rows.setdefault(row.pk, (row, []))[1]
        if any(cell is not None for cell in line[width:]):
            beside.append(make_other(line[width:]))
    return list(rows.values())


@cache
def _reading(model: type[models.Model], only: tuple[str, ...]) -> tuple[int, str, Callable[[Sequence[Any]], Any]]:
    """(how many columns, these, what makes a row of their values) as Django's own queries would."""
    fields = [field for field in model._meta.concrete_fields if not only or field.name in only]
    table = model._meta.db_table
    readers = [
        (at, column, read)
        for at, field in enumerate(fields)
        for column in [field.get_col(table)]
        for read in (*connection.ops.get_db_converters(column), *field.get_db_converters(connection))
    ]
    columns = ", ".join(f"{table}.{connection.ops.quote_name(str(field.column))}" for field in fields)
    names = [field.attname for field in fields]

    def make(line: Sequence[Any]) -> Any:
        cells = list(line)
        for at, column, read in readers:
            cells[at] = read(cells[at], column, connection)
        return model.from_db(connection.alias, names, cells)

    return len(names), columns, make


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
